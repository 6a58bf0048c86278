// Golden files: a few pictures inside each bundle, and what the trained model makes of them. See compat_sdk/bundle/golden.py.

import { BundleError, CheckFailedError } from "./errors.js";
import { readNpy } from "./npy.js";

const MIN_COSINE = { fp32: 0.999, fp16: 0.999, int8: 0.99, palette8: 0.99, palette6: 0.97, "int8-static": 0.9, int4: 0.9, palette4: 0.9 };
const MOST_OFF = { ".jpg": [4, 0.5], ".png": [1, 0.05] }; // levels by which a pixel, and pixels in the mean, may differ
const INPUT_OFF = 2e-5;
const DRAFTED_OFF = [32, 1]; // of a JPEG that Python reads at a fraction of its size, and a browser in full

/** Names of golden pictures among a bundle's files, in the order of their rows. */
export function pictureNames(files) {
  const names = files.filter((name) => name.startsWith("golden/pictures/")).sort();
  const right = (name, row) => Object.keys(MOST_OFF).some((suffix) => name === `golden/pictures/${String(row).padStart(2, "0")}${suffix}`);
  if (names.length > 16 || !names.every(right)) throw new BundleError(`golden pictures are ${names.slice(0, 5)}; expected 00.jpg or 00.png and so on`);
  return names;
}

/** `{images, inputs, embeddings}` of a bundle, each `{shape, data}`, if they fit its manifest. */
export async function readGolden({ dim, preprocessing: { size }, files }, read) {
  const pictures = pictureNames(Object.keys(files)).length;
  const array = async (name, dtype, shape) => {
    if (!Object.hasOwn(files, `golden/${name}.npy`)) throw new BundleError(`there is no golden/${name}.npy; export the model again`);
    const found = readNpy(await read(`golden/${name}.npy`), `golden/${name}.npy`);
    const fits = found.dtype === dtype && found.shape.length === shape.length && shape.every((axis, at) => axis === found.shape[at] || axis < 0);
    if (!fits || (dtype === "float32" && !found.data.every(Number.isFinite)))
      throw new BundleError(`golden ${name} are ${found.dtype} [${found.shape}], expected finite ${dtype} [${shape}]; export the model again`);
    return found;
  };
  const images = await array("images", "uint8", [-1, size, size, 3]);
  const rows = images.shape[0];
  if (rows === 0 || rows < pictures) throw new BundleError(`there are ${pictures} golden pictures and ${rows} golden images; export the model again`);
  const inputs = pictures ? await array("inputs", "float32", [rows, 3, 2]) : null;
  return { images, inputs, embeddings: await array("embeddings", "float32", [rows, dim]) };
}

/** Smallest cosine that a graph is held to. */
export const minCosine = ({ min_cosine: own, precision }) => own ?? MIN_COSINE[precision] ?? MIN_COSINE.fp32;

/** Compare what a picture becomes here with what it became for the trained model. */
export function comparePixels(found, expected, name, drafted) {
  let [most, sum] = [0, 0];
  for (let at = 0; at < found.length; at += 1) {
    const off = Math.abs(found[at] - expected[at]);
    most = Math.max(most, off);
    sum += off;
  }
  const [mostOff, meanOff] = drafted ? DRAFTED_OFF : MOST_OFF[name.slice(-4)];
  const mean = sum / found.length;
  if (most > mostOff || mean > meanOff)
    throw new CheckFailedError(
      `${name} becomes pixels that differ by up to ${most} levels, ${mean.toFixed(2)} in the mean, expected at most ${mostOff} and ` +
        `${meanOff}: this browser decodes it otherwise`,
    );
}

/** Compare mean and deviation of each channel of one graph input with those of the trained model's. */
export function compareInputs(input, layout, expected, largest) {
  const area = input.length / 3;
  for (let channel = 0; channel < 3; channel += 1) {
    const values = input.filter((_, at) => (layout === "nhwc" ? at % 3 : Math.floor(at / area)) === channel);
    const mean = values.reduce((sum, one) => sum + one, 0) / area;
    const deviation = Math.sqrt(values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / area);
    const off = Math.max(Math.abs(mean - expected[2 * channel]), Math.abs(deviation - expected[2 * channel + 1]));
    if (!(off <= INPUT_OFF * largest))
      throw new CheckFailedError(`golden images become an input whose mean or deviation differs by ${off}; export the model again`);
  }
}

/** Cosine of each row to the trained model's vector. */
export function cosines(found, expected, dim) {
  return Array.from({ length: expected.length / dim }, (_, row) => {
    let [dot, norm] = [0, 0];
    for (let at = row * dim; at < (row + 1) * dim; at += 1) {
      dot += found[at] * expected[at];
      norm += expected[at] ** 2;
    }
    return dot / Math.sqrt(norm || 1);
  });
}
