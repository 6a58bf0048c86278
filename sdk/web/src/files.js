// The files of a bundle or a gallery, wherever they are: at a URL, in a folder that was picked, in memory.

import { CorruptFileError, MissingExtraError } from "./errors.js";
import { fileProblem } from "./digest.js";
import { isLitter } from "./names.js";
import { readZip } from "./zip.js";

const PIECE = 8 << 20;
const TRIES = 3;

/**
 * `{path, names, read(name, record)}` of a source.
 *
 * `names` lists what is there, or is null at a URL, where nobody can tell. `read` gives bytes, undefined for what is not there.
 * @param source URL of a folder or of a .zip; Blob or bytes of a zip; FileList, Map or object of files by name.
 * @param cache Name of a browser's cache that keeps what was fetched, by its digest.
 */
export async function openFiles(source, { cache, onProgress } = {}) {
  if (typeof source === "string" || source instanceof URL) {
    const base = new URL(source, globalThis.location?.href);
    if (base.pathname.endsWith(".zip")) return inMemory(readZip(await fetched(base, undefined, onProgress), base.href), base.href);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    return { path: base.href, names: null, read: (name, record) => kept(new URL(name, base), record, cache, onProgress) };
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source) || source instanceof Blob)
    return inMemory(readZip(await bytesOf(source), source.name ?? "the bundle"), source.name ?? "the bundle");
  return inMemory(byName(source), "the folder");
}

/** The content of anything that has some. */
export async function bytesOf(value) {
  if (value instanceof Blob) return new Uint8Array(await value.arrayBuffer());
  return ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
}

/** A listed file, compared with its record before anybody sees it. */
export async function readVerified(files, name, record) {
  const bytes = await files.read(name, record);
  const problem = await fileProblem(bytes, record);
  if (problem) throw new CorruptFileError(`${name} of ${files.path} ${problem}; restore it from its source`);
  return bytes;
}

function inMemory(files, path) {
  const read = async (name) => (files.has(name) ? bytesOf(files.get(name)) : undefined);
  return { path, names: [...files.keys()].filter((name) => !isLitter(name)), read };
}

/** Files by name; of a folder that was picked without the folder's own name. */
function byName(source) {
  if (source instanceof Map) return source;
  if (typeof source[Symbol.iterator] !== "function") return new Map(Object.entries(source));
  return new Map(Array.from(source, (file) => [file.webkitRelativePath?.split("/").slice(1).join("/") || file.name, file]));
}

async function kept(url, record, cache, onProgress) {
  if (!cache || !record) return fetched(url, record?.bytes, onProgress);
  const store = await caches.open(cache);
  const key = new URL(`?sha256=${record.sha256}`, url);
  const found = await store.match(key);
  const bytes = found && new Uint8Array(await found.arrayBuffer());
  if (bytes && (await fileProblem(bytes, record)) === null) return bytes;
  const fresh = await fetched(url, record.bytes, onProgress);
  if (fresh && (await fileProblem(fresh, record)) === null) await store.put(key, new Response(fresh));
  return fresh;
}

/** The content of a URL, undefined where there is none. A large file comes in pieces, and goes on where it broke off. */
async function fetched(url, size, onProgress) {
  if (!(size > PIECE)) {
    const answer = await got(url, {});
    return answer && new Uint8Array(await answer.arrayBuffer());
  }
  const out = new Uint8Array(size);
  for (let at = 0, failures = 0; at < size; ) {
    try {
      const answer = await got(url, { Range: `bytes=${at}-${Math.min(size, at + PIECE) - 1}` });
      if (!answer) return undefined;
      if (answer.status !== 206) at = 0;
      for (const reader = answer.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        out.set(value, at); // a RangeError where there is more than was said
        at += value.length;
        onProgress?.(answer.url, at, size);
      }
      if (answer.status !== 206) return out.subarray(0, at);
    } catch (error) {
      failures += 1;
      if (failures === TRIES || error instanceof RangeError) throw error;
    }
  }
  return out;
}

async function got(url, headers) {
  const answer = await fetch(url, { headers }).catch((error) => {
    throw new MissingExtraError(`cannot fetch ${url}: ${error.message}`, { cause: error });
  });
  if (answer.status === 404 || answer.status === 410) return undefined;
  if (!answer.ok) throw new MissingExtraError(`${url} answered ${answer.status}`);
  return answer;
}
