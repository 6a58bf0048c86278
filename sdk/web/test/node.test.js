// The runtime in Node with onnxruntime-web itself.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import * as ort from "onnxruntime-web/wasm";

import { sha256 } from "../src/digest.js";
import { openFiles, readVerified } from "../src/files.js";
import * as sdk from "../src/index.js";
import { serve } from "./server.js";

const ROOT = new URL("../../conformance/", import.meta.url);
const bytes = (name) => new Uint8Array(readFileSync(new URL(name, ROOT)));
const first = (kind) => JSON.parse(readFileSync(new URL(`${kind}.json`, ROOT), "utf8")).cases[0];
const filesOf = (case_) => new Map(Object.entries(case_.files).map(([name, file]) => [name, bytes(file)]));

ort.env.wasm.numThreads = 1;

test("a bundle's graph runs, and its golden vectors are those of the trained model", async () => {
  const bundle = await sdk.openBundle(filesOf(first("bundles")));
  for (const precision of ["fp32", "fp16"]) {
    const embedder = await bundle.embedder(ort, { precision });
    const { min_cosine: worst, rows, pictures } = await embedder.selfTest({ pictures: false });
    assert.ok(worst > 0.99999 && rows === 3 && pictures === 0, `${worst}`);
  }
  await assert.rejects(() => bundle.embedder(ort, { precision: "int4" }), { name: "BundleError" });
  await assert.rejects(() => bundle.embedder(ort, { engine: "cuda" }), { name: "ConfigError" });
  const embedder = await bundle.embedder(ort);
  await assert.rejects(() => embedder.selfTest(), { name: "MissingExtraError" }); // Node decodes no pictures
});

test("a graph that is none is refused before the engine sees it", async () => {
  const bundle = await sdk.openBundle(filesOf(first("bundles")));
  const broken = { InferenceSession: { create: () => assert.fail("it was given the graph") } };
  bundle.read = async () => new Uint8Array([1, 2, 3]);
  await assert.rejects(() => bundle.embedder(broken), { name: "BundleError" });
});

test("a second engine whose golden vectors differ is not used", async () => {
  const bundle = await sdk.openBundle(filesOf(first("bundles")));
  const wrong = { data: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0), dims: [1, 8] };
  const engine = { Tensor: ort.Tensor, InferenceSession: { create: async () => ({ run: async () => ({ embedding: wrong }) }) } };
  await assert.rejects(() => bundle.embedder(engine, { engine: "webgpu" }), { name: "CheckFailedError" });
});

test("a graph changed behind the bundle's back is refused", async () => {
  const files = filesOf(first("bundles"));
  const bundle = await sdk.openBundle(files);
  files.get("model.onnx")[900] ^= 1;
  await assert.rejects(() => bundle.embedder(ort), { name: "BundleError" });
});

test("a gallery is searched here, though the engine left a Worker of Node's own kind", async () => {
  const gallery = await sdk.openGallery(filesOf(first("galleries")));
  const query = new sdk.Embeddings(Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8, gallery.space);
  assert.equal((await gallery.search(query, 3))[0].length, 3);
  gallery.close();
  gallery.close();
  await assert.rejects(() => gallery.search(query, 3), { name: "GalleryError", message: /was closed/ });
});

test("a search that is under way while its gallery is closed says so", async (t) => {
  const { Worker } = globalThis;
  t.after(() => (globalThis.Worker = Worker));
  globalThis.Worker = class {
    postMessage({ open }) {
      if (open) queueMicrotask(() => this.onmessage({ data: { found: "plain" } }));
    }
    terminate() {}
  };
  const gallery = await sdk.openGallery(filesOf(first("galleries")), { worker: true });
  const found = gallery.search(new sdk.Embeddings(Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8, gallery.space), 3);
  gallery.close();
  await assert.rejects(found, { name: "GalleryError", message: "the gallery was closed; open it again" });
});

test("a bundle and a gallery open from URLs, each file compared before it is used", async (t) => {
  const host = await serve(fileURLToPath(ROOT));
  t.after(host.close);
  const folder = first("galleries").files["gallery.json"].replace("gallery.json", "");
  assert.equal((await sdk.openGallery(host.url + folder)).length, 24);
  const bundle = await sdk.openBundle(`${host.url}bundles/good`);
  host.flip = "good/model.onnx";
  await assert.rejects(() => bundle.embedder(ort), { name: "BundleError" });
  host.flip = ".npy";
  await assert.rejects(() => sdk.openGallery(host.url + folder), { name: "GalleryError" });
  await assert.rejects(() => sdk.openBundle(`${host.url}nothing/`), { name: "BundleError" });
  assert.equal((await sdk.openBundle(`${host.url}bundles/zips/good-zip.zip`)).manifest.dim, 8);
});

test("a large file comes in pieces, and goes on where it broke off", async (t) => {
  const dist = new URL("../node_modules/onnxruntime-web/dist/", import.meta.url);
  const name = "ort-wasm-simd-threaded.wasm";
  const whole = new Uint8Array(readFileSync(new URL(name, dist)));
  const record = { sha256: await sha256(whole), bytes: whole.length };
  const host = await serve(fileURLToPath(dist));
  t.after(host.close);
  host.drop = 1;
  await readVerified(await openFiles(host.url), name, record);
  assert.ok(host.asked.length === 3 && host.asked.every((asked) => asked.includes("bytes=")), `${host.asked}`);
  host.flip = name; // a host without ranges, whose answer has a byte changed
  await assert.rejects(async () => readVerified(await openFiles(host.url), name, record), { name: "CorruptFileError" });
});
