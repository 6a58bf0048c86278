// The JavaScript side of web_runtime.py: the same work in Node and in Chromium, on the folder that it wrote.
//
//     node benchmarks/speed/web_runtime.mjs FOLDER SDK_WEB ROUNDS        prints JSON

const median = (times) => times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)];

/** Milliseconds of `steps`, name to function, each the median of `rounds`; they take turns within a round. */
async function timed(steps, rounds) {
  const times = Object.fromEntries(Object.keys(steps).map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1)
    for (const [name, step] of Object.entries(steps)) {
      const start = performance.now();
      await step();
      if (round >= 0) times[name].push(performance.now() - start);
    }
  return Object.fromEntries(Object.entries(times).map(([name, list]) => [name, median(list)]));
}

/** All figures of one platform. */
export async function measure({ sdk, ort, source, galleries, photo, threads, rounds }) {
  const found = { search_ms: {} };
  const bundle = await sdk.openBundle(await source("query.bundle"));
  const { size } = bundle.manifest.preprocessing;
  const pixels = sdk.toPixels({ ...photo }, bundle.manifest.preprocessing);
  for (const count of threads) {
    ort.env.wasm.numThreads = count;
    const embedder = await bundle.embedder(ort);
    const session = await ort.InferenceSession.create(await bundle.read(embedder.graph.file), { executionProviders: ["wasm"] });
    const input = sdk.toInput(pixels, embedder.preprocessing, embedder.graph);
    const bare = () => session.run({ [embedder.graph.inputs[0]]: new ort.Tensor("float32", input, [1, 3, size, size]) });
    const steps = { bare_session: bare, embed: () => embedder.embedPixels([pixels]) };
    if (photo.file) steps.decode = () => sdk.decode(photo.file);
    steps.resize = () => sdk.toPixels({ ...photo }, embedder.preprocessing);
    const times = await timed(steps, rounds);
    found[`threads_${count}`] = { ...times, overhead: times.embed / times.bare_session };
  }
  for (const name of galleries) {
    const gallery = await sdk.openGallery(await source(name));
    const query = new sdk.Embeddings(Float32Array.from({ length: gallery.dim }, () => 1 / Math.sqrt(gallery.dim)), gallery.dim, gallery.space);
    found.search_ms[name] = (await timed({ search: () => gallery.search(query, 10) }, rounds)).search;
    gallery.close();
  }
  return found;
}

/** A visit to the site: milliseconds until it is ready and until the first hit stands there, and bytes that were fetched by then. */
async function visited(context, host, photo) {
  const page = await context.newPage();
  const [start, sent] = [performance.now(), host.sent];
  const sinceStart = () => performance.now() - start;
  await page.goto(`${host.url}site/`);
  await page.waitForFunction(() => document.querySelector("#status").textContent.startsWith("Ready"));
  const ready_ms = sinceStart();
  await page.setInputFiles("#file", photo);
  await page.waitForSelector("#hits li");
  const found = { ready_ms, first_hit_ms: sinceStart(), fetched_bytes: host.sent - sent };
  await page.waitForSelector("#figure-offline", { state: "attached" }); // the next visit finds all of it kept
  await page.close();
  return found;
}

async function main([folder, web, rounds]) {
  const { readFile, readdir } = await import("node:fs/promises");
  const { pathToFileURL } = await import("node:url");
  const load = (path) => import(pathToFileURL(path).href);
  const filesIn = async (name, under = "") => {
    const entries = await readdir(`${folder}/${name}/${under}`, { withFileTypes: true });
    const inner = entries.map(async (entry) =>
      entry.isDirectory() ? filesIn(name, `${under}${entry.name}/`) : [[`${under}${entry.name}`, await readFile(`${folder}/${name}/${under}${entry.name}`)]],
    );
    return (await Promise.all(inner)).flat();
  };
  const { galleries, photo } = JSON.parse(await readFile(`${folder}/plan.json`, "utf8"));
  const sdk = await load(`${web}/src/index.js`);
  const ort = await load(`${web}/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs`);
  const raw = { ...photo, data: new Uint8Array(await readFile(`${folder}/photo.raw`)) };
  const source = async (name) => new Map(await filesIn(name));
  const node = await measure({ sdk, ort, source, galleries, photo: raw, threads: [1], rounds: Number(rounds) });
  const { chromium } = await load(`${web}/node_modules/playwright-core/index.mjs`);
  const { serve } = await load(`${web}/test/server.js`);
  const host = await serve(folder, { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" });
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage();
  page.setDefaultTimeout(600_000);
  await page.goto(`${host.url}blank.html`);
  const inChromium = await page.evaluate(
    async ([galleries, rounds]) => {
      const { measure } = await import("/web_runtime.mjs");
      const [sdk, ort] = await Promise.all([import("/compat-sdk/index.js"), import("/ort/ort.wasm.min.mjs")]);
      ort.env.wasm.wasmPaths = new URL("/ort/", location.href).href;
      const file = await (await fetch("/photo.jpg")).blob();
      const photo = { ...(await sdk.decode(file)), file };
      return measure({ sdk, ort, source: async (name) => `/${name}/`, galleries, photo, threads: [1, navigator.hardwareConcurrency], rounds });
    },
    [galleries, Number(rounds)],
  );
  await page.close();
  const context = await browser.newContext();
  const site = { first: await visited(context, host, `${folder}/photo.jpg`), again: await visited(context, host, `${folder}/photo.jpg`) };
  await browser.close();
  await host.close();
  console.log(JSON.stringify({ node, chromium: inChromium, site }));
}

if (globalThis.process?.argv) await main(process.argv.slice(2));
