// A gallery: vectors in one embedding space, with ids and labels, read and searched. Only Python writes one.

import { GalleryError, VectorError, within } from "./errors.js";
import { sealOf } from "./digest.js";
import { checkCount, checkSha256, expect, fields } from "./fields.js";
import { openFiles, readVerified } from "./files.js";
import { canonicalJson, isObject, parseJson, plainJson } from "./json.js";
import { readNpy } from "./npy.js";
import { Scan } from "./scan.js";
import { Embeddings, checkSpace, requireCompatible } from "./space.js";

const STATE = "gallery.json";
const OURS = /^(vectors|rows|index)-\d+-[0-9a-f]{16}\.(npy|jsonl?|usearch|hnswlib|faiss)$/;
const RESTORE = "restore the gallery from a copy, or build it again";

/**
 * Verify a gallery, and return it ready to be searched. Its rows are in memory, as they are stored.
 *
 * @param source See `openFiles`; a gallery has no form as a zip.
 * @param options `worker`: search in a worker, as by default in a browser, or here, as in Node. `cache` and `onProgress` as for `openBundle`.
 * @throws GalleryError No gallery, or a damaged one.
 */
export async function openGallery(source, options = {}) {
  const inNode = Boolean(globalThis.process?.versions?.node); // where onnxruntime-web leaves a Worker of another kind
  const { worker = typeof Worker === "function" && !inNode } = options;
  return within(GalleryError, "the gallery cannot be opened", async () => {
    const files = await openFiles(source, options);
    const state = await readState(files);
    const [ids, labels, parts] = [[], [], []];
    for (const segment of state.segments) {
      await readNames(files, segment, ids, labels);
      parts.push(await readVectors(files, segment, state));
    }
    const search = worker ? await inWorker(parts, state.dim) : here(parts, state.dim);
    return new Gallery(files.path, state, ids, labels, search);
  });
}

/** Stored vectors of one space: `space`, `dim`, `dtype`, `model`, `ids`, `labels`, `length`, `scoring`. Made by `openGallery`. */
export class Gallery {
  #search;
  constructor(path, state, ids, labels, search) {
    this.#search = search;
    const { space, dim, dtype, generation, model } = state;
    Object.assign(this, { path, space, dim, dtype, generation, model, ids, labels, segments: state.segments.length, scoring: search.scoring });
  }
  get length() {
    return this.ids.length;
  }

  /**
   * The nearest stored images of every query: for each its hits `{id, label, score}`, best first.
   *
   * @param query Embeddings that may search this gallery's space.
   * @param k Hits wanted per query, at least 1; a smaller gallery gives all it has.
   */
  async search(query, k = 10) {
    if (!(query instanceof Embeddings)) throw new VectorError("expected Embeddings; use Embedder.embed(image)");
    requireCompatible(query, this.space);
    if (query.dim !== this.dim) throw new VectorError(`found vectors of dimension ${query.dim}, expected ${this.dim}`);
    checkCount(k, "k", 1);
    const found = [];
    for (let row = 0; row < query.length; row += 1) {
      const vector = query.vectors.slice(row * this.dim, (row + 1) * this.dim);
      const { rows, scores } = await this.#search.find(vector, Math.min(k, this.length));
      found.push(Array.from(rows, (at, place) => ({ id: this.ids[at], label: this.labels[at], score: scores[place] })));
    }
    return found;
  }

  /** End the workers, and let go of the rows. */
  close() {
    this.#search.close();
    const find = async () => {
      throw new GalleryError(`${this.path} was closed; open it again`);
    };
    this.#search = { find, close: () => {} };
  }
}

async function readState(files) {
  const bytes = await files.read(STATE);
  if (bytes === undefined) throw new GalleryError(`${files.path} is not a gallery: found no ${STATE}; check the path`);
  return within(GalleryError, `${STATE} of ${files.path} is damaged, ${RESTORE}`, async () => {
    const value = parseJson(bytes, STATE);
    checkState(value);
    const text = `${canonicalJson({ ...value, digest: await sealOf(value) }, true)}\n`;
    expect(text === new TextDecoder().decode(bytes), "its digest", value.digest, "that of its content");
    return { dtype: "float32", ...plainJson(value), space: checkSpace(value.space) };
  });
}

function checkState(value) {
  const { format, version, dtype = "float32" } = value;
  expect(format === "compat-sdk-gallery", "format", format, "compat-sdk-gallery");
  expect([1, 2, 3, 4].includes(version), "version", version, "1 to 4; upgrade compat-sdk");
  fields(value, STATE, ["format", "version", "digest", "space", "dim", "model", "generation", "content", "segments", "index"], ["dtype"]);
  expect(Array.isArray(value.segments), "segments", value.segments, "a list");
  expect(isObject(value.model), "model", value.model, "facts by name");
  for (const name of ["dim", "generation", "content"]) checkCount(value[name], name);
  for (const segment of value.segments) {
    const { rows, vectors, table } = fields(segment, "a segment", ["rows", "vectors", "table"]);
    checkCount(rows, "rows");
    [vectors, table].forEach(checkFile);
  }
  if (value.index !== null) {
    const { kind, options, content, file } = fields(value.index, "index", ["kind", "content", "options", "file"]);
    expect(typeof kind === "string" && isObject(options), "index", value.index, "a kind and options");
    checkCount(content, "index.content");
    checkFile(file);
  }
  expect(["float32", "float16", "int8"].includes(dtype) && value.dtype !== "float32", "dtype", dtype, "float16, int8 or none");
  const lines = value.segments.some(({ table }) => table.name.endsWith(".jsonl"));
  const other = value.index !== null && value.index.kind !== "usearch";
  const least = other ? 4 : lines ? 3 : "dtype" in value ? 2 : 1;
  expect(version === least, "version", version, `${least}, for what it has`);
}

function checkFile(value) {
  const { name, sha256, bytes } = fields(value, "a file", ["name", "sha256", "bytes"]);
  expect(typeof name === "string" && OURS.test(name), "a file's name", name, "one that a gallery gives");
  checkSha256(sha256, name);
  checkCount(bytes, name);
}

/** A segment's table: one line of JSON for each 65,536 rows. */
async function readNames(files, segment, ids, labels) {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(await readVerified(files, segment.table.name, segment.table));
  const before = ids.length;
  for (const line of (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n")) {
    const table = JSON.parse(line);
    const fits = [table.ids, table.labels].every((names) => Array.isArray(names) && names.every((name) => typeof name === "string"));
    if (!fits || table.ids.length !== table.labels.length) throw new GalleryError(`${segment.table.name} lists no ids and labels; ${RESTORE}`);
    for (const name of table.ids) ids.push(name);
    for (const name of table.labels) labels.push(name);
  }
  if (ids.length - before !== segment.rows) throw new GalleryError(`${segment.table.name} lists ${ids.length - before} rows, expected ${segment.rows}; ${RESTORE}`);
}

async function readVectors(files, segment, { dim, dtype }) {
  const { name } = segment.vectors;
  const found = readNpy(await readVerified(files, name, segment.vectors), name);
  if (found.dtype !== dtype || `${found.shape}` !== `${[segment.rows, dim]}`)
    throw new GalleryError(`${name} holds ${found.dtype} [${found.shape}], expected ${dtype} [${segment.rows},${dim}]; ${RESTORE}`);
  return found.data;
}

function here(parts, dim) {
  const scan = new Scan(parts, dim);
  return { scoring: scan.scoring, find: async (query, k) => scan.find(query, k), close: () => {} };
}

/** The rows in a worker, which they are handed over to. */
async function inWorker(parts, dim) {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const waiting = []; // the worker answers in order
  const refuse = (problem) => waiting.shift().reject(new GalleryError(problem));
  const end = (problem) => {
    while (waiting.length) refuse(problem);
  };
  worker.onmessage = ({ data: { problem, found } }) => (problem ? refuse(`${problem}; ${RESTORE}`) : waiting.shift().resolve(found));
  worker.onerror = ({ message }) => end(message || "worker.js could not be loaded; put it beside this file");
  const ask = (question, handed = []) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      worker.postMessage(question, handed);
    });
  const scoring = await ask({ open: { parts, dim } }, [...new Set(parts.map((part) => part.buffer))]);
  const close = () => {
    worker.terminate();
    end("the gallery was closed; open it again");
  };
  return { scoring, find: (query, k) => ask({ query, k }), close };
}
