// Bundles: an exported model with everything that is needed to use it, and to know that it is intact.

import { BundleError, ConfigError, within } from "./errors.js";
import { sha256 } from "./digest.js";
import { Embedder, openSession } from "./embedder.js";
import { openFiles, readVerified } from "./files.js";
import { readGolden } from "./golden.js";
import { parseJson } from "./json.js";
import { readManifest, requireCurrent } from "./manifest.js";
import { MANIFEST, SIGNATURE } from "./names.js";

const LARGEST_DOCUMENT = 4 << 20;
const SUFFIXES = /\.(pkl|pickle|pt|pth|ckpt|joblib|npz|zip|tar|gz|tgz|bz2|xz|zst|7z|rar|jar|whl)$/i;
const ARCHIVES = ["PK\x03\x04", "PK\x05\x06", "\x1f\x8b\x08", "\xfd7zXZ\0", "7z\xbc\xaf\x27\x1c", "Rar!\x1a\x07", "\x28\xb5\x2f\xfd"];

/**
 * Verify a bundle, and return it.
 *
 * A zip, a picked folder or files in memory are checked whole. Of a folder at a URL the files that are used are fetched and
 * checked, each before it is used; what else lies there nobody can list.
 * @param source See `openFiles`.
 * @param options `cache`: name of a browser cache for what is fetched; `onProgress(url, done, total)`.
 * @throws BundleError It is damaged, incomplete or past its last day. ConfigError: a transform, which embeds no images.
 */
export async function openBundle(source, options = {}) {
  const bundle = await within(BundleError, "the bundle cannot be opened", async () => {
    const files = await openFiles(source, options);
    const document = await files.read(MANIFEST);
    if (document === undefined) throw new BundleError(`${files.path} is not a bundle: it has no ${MANIFEST}`);
    if (document.length > LARGEST_DOCUMENT) throw new BundleError(`${MANIFEST} has more than ${LARGEST_DOCUMENT} bytes`);
    const manifest = await readManifest(parseJson(document, MANIFEST));
    requireCurrent(manifest, files.path);
    const unlisted = files.names?.filter((name) => name !== MANIFEST && name !== SIGNATURE && !Object.hasOwn(manifest.files, name)) ?? [];
    if (unlisted.length) throw new BundleError(`${files.path} holds files that its manifest does not list: ${unlisted.slice(0, 5)}; remove them`);
    const made = new Bundle(files, manifest, await sha256(document));
    if (files.names) for (const name of Object.keys(manifest.files)) await made.read(name);
    return made;
  });
  if (bundle.manifest.preprocessing === null) throw new ConfigError(`${bundle.path} is a transform of embeddings and takes no images`);
  await bundle.golden();
  return bundle;
}

/** A bundle whose manifest was verified; `path`, `manifest`, `digest` (SHA-256 of the manifest's bytes). Made by `openBundle`. */
export class Bundle {
  #files;
  constructor(files, manifest, digest) {
    this.#files = files;
    Object.assign(this, { path: files.path, manifest, digest });
  }

  /** The content of one listed file, compared with its digest. */
  async read(name) {
    const record = Object.hasOwn(this.manifest.files, name) ? this.manifest.files[name] : null;
    if (!record) throw new BundleError(`${this.path} lists no file ${name}`);
    return within(BundleError, this.path, async () => {
      const bytes = await readVerified(this.#files, name, record);
      if (isHidden(name, bytes)) throw new BundleError(`${name} is a pickle or an archive; a bundle holds neither`);
      return bytes;
    });
  }

  /** The graph of a target, of a precision or else the first listed. */
  graph(target = "onnx", precision = null) {
    const found = this.manifest.graphs.find((graph) => graph.target === target && (precision === null || graph.precision === precision));
    const listed = this.manifest.graphs.map((graph) => `${graph.target} ${graph.precision}`);
    if (!found) throw new BundleError(`${this.path} has no ${target} ${precision ?? ""} graph; it has ${listed.join(", ")}`);
    return found;
  }

  /** Golden images, input statistics and embeddings. */
  golden() {
    return within(BundleError, this.path, () => readGolden(this.manifest, (name) => this.read(name)));
  }

  /**
   * What embeds images with this bundle's ONNX graph.
   *
   * @param ort onnxruntime-web, or anything with its `InferenceSession` and `Tensor`.
   * @param options `precision`; `engine`: "wasm", or "webgpu", which is used only after its golden vectors agree with the bundle's.
   */
  async embedder(ort, { precision = null, engine = "wasm" } = {}) {
    const graph = this.graph("onnx", precision);
    const session = await openSession(ort, await this.read(graph.file), engine);
    const embedder = new Embedder(this, graph, session, engine);
    if (engine !== "wasm") await embedder.selfTest({ pictures: false });
    return embedder;
  }
}

/** Whether a file is a pickle or an archive, by its name, its first bytes, or its end: a zip may follow anything. */
function isHidden(name, bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 512));
  const tail = String.fromCharCode(...bytes.subarray(-22));
  const pickle = bytes.length > 1 && bytes[0] === 0x80 && bytes[1] <= 5 && tail.endsWith(".");
  const archive = ARCHIVES.some((magic) => head.startsWith(magic)) || (head.startsWith("BZh") && head.slice(4, 10) === "1AY&SY");
  return SUFFIXES.test(name) || pickle || archive || head.slice(257, 262) === "ustar" || tail.startsWith("PK\x05\x06");
}
