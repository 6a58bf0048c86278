// From images to embeddings: a verified bundle, its preprocessing and an engine behind one call.

import { BundleError, CheckFailedError, ConfigError } from "./errors.js";
import { decode, isEncoded } from "./decode.js";
import { compareInputs, comparePixels, cosines, minCosine, pictureNames } from "./golden.js";
import { isDrafted, toInput, toPixels } from "./preprocessing.js";
import { Embeddings, unitRows } from "./space.js";

/** A session of onnxruntime-web over a verified graph. */
export async function openSession(ort, graph, engine) {
  if (!["wasm", "webgpu"].includes(engine)) throw new ConfigError(`engine is ${engine}; expected wasm or webgpu`);
  if (graph[0] !== 8) throw new BundleError("the graph does not begin as an ONNX file does; export the model again");
  try {
    const session = await ort.InferenceSession.create(graph, { executionProviders: [engine] });
    return async (name, data, dims, output) => (await session.run({ [name]: new ort.Tensor("float32", data, dims) }, [output]))[output];
  } catch (error) {
    throw new BundleError(`onnxruntime-web cannot load the graph by ${engine}: ${error.message}`, { cause: error });
  }
}

/** Embeds images with the model of one bundle. Made by `Bundle.embedder`. */
export class Embedder {
  #run;
  constructor(bundle, graph, run, engine) {
    this.#run = run;
    const { preprocessing, space, searches, dim } = bundle.manifest;
    Object.assign(this, { bundle, graph, engine, preprocessing, space, searches, dim });
  }

  /**
   * One unit vector per image, in order, as `Embeddings`.
   *
   * @param images One or an array of: a Blob or bytes of a file that the browser decodes; ImageData; `{data, width, height}`.
   */
  async embed(images) {
    const pixels = [];
    for (const image of Array.isArray(images) ? images : [images])
      pixels.push(toPixels(isEncoded(image) ? await decode(image) : image, this.preprocessing));
    return this.embedPixels(pixels);
  }

  /** The same of what `toPixels` made: an array of Uint8Array. */
  async embedPixels(pixels) {
    const { dim, graph } = this;
    const batch = graph.batch ?? 1;
    const vectors = new Float32Array(pixels.length * dim);
    for (let first = 0; first < pixels.length; first += batch) {
      const rows = Array.from({ length: batch }, (_, row) => pixels[Math.min(first + row, pixels.length - 1)]);
      const found = await this.#given(rows.map((row) => toInput(row, this.preprocessing, graph)));
      vectors.set(found.subarray(0, (Math.min(first + batch, pixels.length) - first) * dim), first * dim);
    }
    return new Embeddings(unitRows(vectors, dim, "images have no embedding"), dim, this.space, this.searches);
  }

  async #given(inputs) {
    const { size } = this.preprocessing;
    const dims = this.graph.layout === "nhwc" ? [inputs.length, size, size, 3] : [inputs.length, 3, size, size];
    const data = inputs.length === 1 ? inputs[0] : Float32Array.from(inputs.flatMap((one) => Array.from(one)));
    let found;
    try {
      found = await this.#run(this.graph.inputs[0], data, dims, this.graph.output);
    } catch (error) {
      throw new BundleError(`onnxruntime-web failed on input [${dims}]: ${error.message}`, { cause: error });
    }
    if (!(found?.data instanceof Float32Array) || `${found.dims}` !== `${[inputs.length, this.dim]}`)
      throw new BundleError(`the graph gave ${found?.type} [${found?.dims}], expected float32 [${[inputs.length, this.dim]}]`);
    return found.data;
  }

  /**
   * Embed the golden pictures here, from their bytes, and compare pixels, inputs and vectors with the trained model's.
   *
   * @param options `pictures: false` begins at the pixels, for a platform that decodes no pictures, such as Node.
   * @returns `{min_cosine, bound, rows, pictures}`.
   * @throws CheckFailedError One of them differs by more than the graph's precision allows.
   */
  async selfTest({ pictures = true } = {}) {
    const { bundle, graph, dim } = this;
    const { images, inputs, embeddings } = await bundle.golden();
    const size = images.data.length / images.shape[0];
    const pixels = Array.from({ length: images.shape[0] }, (_, row) => images.data.subarray(row * size, (row + 1) * size));
    if (inputs) {
      const largest = inputs.data.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
      pixels.forEach((row, at) => compareInputs(toInput(row, this.preprocessing, graph), graph.layout, inputs.data.subarray(6 * at, 6 * at + 6), largest));
    }
    const names = pictures ? pictureNames(Object.keys(bundle.manifest.files)) : [];
    const decoded = [...pixels];
    for (const [row, name] of names.entries()) {
      const picture = await decode(await bundle.read(name));
      decoded[row] = toPixels(picture, this.preprocessing);
      comparePixels(decoded[row], pixels[row], name, isDrafted(picture, this.preprocessing));
    }
    const bound = minCosine(graph);
    const found = cosines((await this.embedPixels(decoded)).vectors, embeddings.data, dim);
    const worst = Math.min(...found);
    if (!(worst >= bound))
      throw new CheckFailedError(
        `${this.engine} turns golden row ${found.indexOf(worst)} of ${bundle.path} into a vector of cosine ${worst.toFixed(6)}, expected at least ` +
          `${bound}; use another engine or export the model again`,
      );
    return { min_cosine: worst, bound, rows: found.length, pictures: names.length };
  }
}
