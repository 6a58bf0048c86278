// A gallery: vectors in one embedding space, with ids and labels, read and searched. Only Python writes one.

import { ConfigError, GalleryError, VectorError, shown, within } from "./errors.js";
import { sealOf } from "./digest.js";
import { openFiles, readVerified } from "./files.js";
import { canonicalJson, isObject, parseJson, plainJson } from "./json.js";
import { readNpy } from "./npy.js";
import { isInteger } from "./preprocessing.js";
import { Scan } from "./scan.js";
import { Embeddings, checkSpace, requireCompatible } from "./space.js";

const STATE = "gallery.json";
const OURS = /^(vectors|rows|index)-\d+-[0-9a-f]{16}\.(npy|jsonl?|usearch|hnswlib|faiss)$/;
const SHA256 = /^[0-9a-f]{64}$/;
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
    if (!isInteger(k, 1, Infinity)) throw new ConfigError(`k is ${shown(k)}, expected an integer of at least 1`);
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
  const value = parseJson(bytes, STATE);
  const refuse = (why) => {
    throw new GalleryError(`${STATE} of ${files.path} ${why}; ${RESTORE}`);
  };
  const exact = (item, names, what) => {
    if (!isObject(item) || `${Object.keys(item).sort()}` !== `${[...names].sort()}`) refuse(`has ${what} ${shown(item)}, expected ${names}`);
    return item;
  };
  const count = (item) => (isInteger(item, 0, Infinity) ? item : refuse(`has ${shown(item)} where a count was expected`));
  const file = (item) => {
    const { name, sha256, bytes: size } = exact(item, ["name", "sha256", "bytes"], "a file");
    if (typeof name !== "string" || typeof sha256 !== "string" || !OURS.test(name) || !SHA256.test(sha256)) refuse(`names the file ${shown(name)}`);
    count(size);
  };
  if (value.format !== "compat-sdk-gallery") refuse("does not describe a gallery");
  if (![1, 2, 3, 4].includes(value.version)) refuse(`has version ${shown(value.version)}, this release reads 1 to 4; upgrade compat-sdk`);
  const dtyped = "dtype" in value ? ["dtype"] : [];
  exact(value, ["format", "version", "digest", "space", "dim", "model", "generation", "content", "segments", "index", ...dtyped], "fields");
  if (!Array.isArray(value.segments) || !isObject(value.model)) refuse("has segments or a model of another type");
  [value.dim, value.generation, value.content].forEach(count);
  for (const segment of value.segments) {
    const { rows, vectors, table } = exact(segment, ["rows", "vectors", "table"], "a segment");
    count(rows);
    [vectors, table].forEach(file);
  }
  if (value.index !== null) {
    const { kind, options } = exact(value.index, ["kind", "content", "options", "file"], "an index");
    if (typeof kind !== "string" || !isObject(options)) refuse("has an index of another type");
    count(value.index.content);
    file(value.index.file);
  }
  const { dtype = "float32" } = value;
  if (!["float32", "float16", "int8"].includes(dtype) || (dtyped.length && dtype === "float32")) refuse(`has the dtype ${shown(dtype)}`);
  const lines = value.segments.some(({ table }) => table.name.endsWith(".jsonl"));
  const other = value.index !== null && value.index.kind !== "usearch";
  if (value.version !== (other ? 4 : lines ? 3 : dtyped.length ? 2 : 1)) refuse(`has version ${value.version} and what another version has`);
  const text = `${canonicalJson({ ...value, digest: await sealOf(value) }, true)}\n`;
  if (text !== new TextDecoder().decode(bytes)) refuse("differs from its own digest");
  return { ...plainJson(value), space: checkSpace(value.space), dtype };
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

/** The rows in a worker, which they are handed over to; each question is answered by its number. */
async function inWorker(parts, dim) {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const waiting = new Map();
  const settle = (id, problem, found) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (problem) reject(new GalleryError(`${problem}; build the gallery again, or load the page again`));
    else resolve(found);
  };
  worker.onmessage = ({ data: { id, problem, found } }) => settle(id, problem, found);
  worker.onerror = (event) => [...waiting.keys()].forEach((id) => settle(id, event.message || "the worker could not be loaded"));
  let last = 0;
  const ask = (question, handed = []) =>
    new Promise((resolve, reject) => {
      last += 1;
      waiting.set(last, { resolve, reject });
      worker.postMessage({ id: last, ...question }, handed);
    });
  const scoring = await ask({ open: { parts, dim } }, [...new Set(parts.map((part) => part.buffer))]);
  return { scoring, find: (query, k) => ask({ query, k }), close: () => worker.terminate() };
}
