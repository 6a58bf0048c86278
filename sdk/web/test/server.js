// A static host for a folder: plain answers, ranges, and a byte that can be flipped on the way.

import { createReadStream, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".wasm": "application/wasm",
  ".json": "application/json", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".png": "image/png", ".webmanifest": "application/manifest+json" };

/** `{url, asked, flip, drop, instead, close}`: `flip` is the end of a path whose middle byte is changed, or null;
 *  `drop` is how many answers break off half way; `instead` has texts that are sent in the place of files, by path. */
export async function serve(folder, headers = {}) {
  const host = { asked: [], flip: null, drop: 0, instead: {} };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const file = join(folder, normalize(path.endsWith("/") ? `${path}index.html` : path));
    host.asked.push(request.headers.range ? `${path} ${request.headers.range}` : path);
    try {
      const { size } = statSync(file);
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      const type = { ...headers, "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" };
      if (path in host.instead) response.writeHead(200, type).end(host.instead[path]);
      else if (host.flip && path.endsWith(host.flip)) {
        const data = await readFile(file);
        data[Math.floor(size / 2)] ^= 1;
        response.writeHead(200, type).end(data);
      } else if (from !== undefined) {
        const end = Math.min(Number(to), size - 1);
        response.writeHead(206, { ...type, "Content-Range": `bytes ${from}-${end}/${size}`, "Content-Length": end - Number(from) + 1 });
        const half = Math.floor((Number(from) + end) / 2);
        if (host.drop-- > 0) createReadStream(file, { start: Number(from), end: half }).on("end", () => response.destroy()).pipe(response, { end: false });
        else createReadStream(file, { start: Number(from), end }).pipe(response);
      } else {
        response.writeHead(200, { ...type, "Content-Length": size });
        createReadStream(file).pipe(response);
      }
    } catch (error) {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  host.url = `http://localhost:${server.address().port}/`;
  host.close = () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve)));
  return host;
}
