// From decoded pixels to the numbers that a model was trained on: Pillow's resize, to the level.

import { ImageError } from "./errors.js";
import { expect, fields, isInteger, numberOf } from "./fields.js";

const BITS = 22; // of a weight's fraction, as in Pillow

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const KERNELS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => cubic(Math.abs(x), -0.5)],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function cubic(x, a) {
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

const three = (value) => (Array.isArray(value) && value.length === 3 ? value.map(numberOf) : [NaN]);

/** What is done to an image before a model sees it, of a manifest's `preprocessing`; its numbers are checked. */
export function readPreprocessing(value, what = "preprocessing") {
  fields(value, what, ["size", "fit", "resize", "draft", "mean", "std", "channels"], ["crop"]);
  const { size, fit, resize, draft, channels } = value;
  const [mean, std, crop] = [three(value.mean), three(value.std), "crop" in value ? numberOf(value.crop) : 1];
  const check = (field, holds, expected) => expect(holds, `${what}.${field}`, value[field], expected);
  check("size", isInteger(size, 1, 4096), "an integer from 1 to 4096");
  check("draft", isInteger(draft, 0, 64), "an integer from 0 to 64");
  check("fit", ["crop", "stretch"].includes(fit), "crop or stretch");
  check("resize", typeof resize === "string" && Object.hasOwn(KERNELS, resize), Object.keys(KERNELS).join(", "));
  check("channels", ["rgb", "bgr"].includes(channels), "rgb or bgr");
  check("mean", mean.every(Number.isFinite), "three finite numbers");
  check("std", std.every((one) => one > 0 && one < Infinity), "three numbers above 0");
  check("crop", crop > 0 && crop <= 1, "a fraction above 0, up to 1");
  return { size, fit, resize, draft, mean, std, channels, crop };
}

/** What is left to do for a graph that has mean, deviation and channel order inside. */
export const insideGraph = (of) => ({ ...of, mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255], channels: "rgb" });

/**
 * A picture as the pixels that a model sees: Uint8Array of size * size * 3, RGB.
 *
 * @param picture `{data, width, height}`: 1 (grey), 3 (RGB) or 4 (RGBA) bytes a pixel, upright, such as ImageData;
 *   `turned` says that it lay on its side in its file: Pillow resizes it there, first along what were rows.
 */
export function toPixels(picture, preprocessing) {
  const { size, fit, crop, resize } = preprocessing;
  const { width, height } = picture;
  let data = rgb(picture);
  if (width === size && height === size && picture.data.length === data.length) return data;
  let [keptWidth, keptHeight] = [width * crop, height * crop];
  if (fit === "crop") keptWidth = keptHeight = Math.min(keptWidth, keptHeight);
  const sides = [width, height];
  const passes = [[0, keptWidth], [1, keptHeight]];
  for (const [axis, kept] of picture.turned ? passes.reverse() : passes) {
    const [side, start] = [sides[axis], (sides[axis] - kept) / 2];
    if (kept === side && side === size) continue;
    data = along(data, ...sides, weights(side, start, start + kept, size, resize), axis === 1);
    sides[axis] = size;
  }
  return data;
}

/**
 * Pixels as a graph's input: Float32Array of 3 * size * size numbers a picture, `(pixel / 255 - mean) / std`.
 *
 * @param graph `{layout, values}` of the manifest's graph.
 */
export function toInput(pixels, preprocessing, graph) {
  const { size, mean, std, channels } = graph.values === "pixels" ? insideGraph(preprocessing) : preprocessing;
  const area = size * size;
  if (!(pixels instanceof Uint8Array) || pixels.length % (3 * area) !== 0)
    throw new ImageError(`pixels are ${pixels?.length} bytes; expected a Uint8Array of ${size} x ${size} x 3 a picture`);
  const asTheyAre = channels === "rgb" && mean.every((one) => one === 0) && std.every((one) => one === 1 / 255);
  const lines = [0, 1, 2].map((channel) => {
    const [shift, by] = [Math.fround(mean[channel]), Math.fround(std[channel])];
    const value = (level) => (asTheyAre ? level : Math.fround(Math.fround(Math.fround(level / 255) - shift) / by));
    return Float32Array.from({ length: 256 }, (_, level) => value(level));
  });
  const input = new Float32Array(pixels.length);
  for (let first = 0; first < pixels.length; first += 3 * area)
    for (let channel = 0; channel < 3; channel += 1) {
      const line = lines[channel];
      const place = channels === "rgb" ? channel : 2 - channel;
      const [start, step] = graph.layout === "nhwc" ? [first + place, 3] : [first + place * area, 1];
      for (let pixel = 0; pixel < area; pixel += 1) input[start + pixel * step] = line[pixels[first + 3 * pixel + channel]];
    }
  return input;
}

/** Grey, RGB or RGBA as RGB; transparency is laid on white, in Pillow's arithmetic. */
function rgb({ data, width, height }) {
  const channels = data?.length / (width * height);
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray) || ![1, 3, 4].includes(channels) || data.length === 0)
    throw new ImageError(`a picture has ${data?.length} bytes for ${width} x ${height} pixels; expected 1, 3 or 4 bytes a pixel`);
  if (channels === 3) return data instanceof Uint8Array ? data : new Uint8Array(data.buffer, data.byteOffset, data.length);
  const found = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < found.length; from += channels, to += 3) {
    const white = channels === 4 ? (255 - data[from + 3]) * 128 : 0;
    for (let one = 0; one < 3; one += 1) {
      const value = data[channels === 1 ? from : from + one];
      const sum = white * 255 + value * (255 * 128 - white) + 0x4000;
      found[to + one] = white === 0 ? value : (((sum >> 8) + sum) >> 8) >> 7;
    }
  }
  return found;
}

/** Where each pixel of a new line begins to look, and how much it takes of each pixel from there on. */
function weights(side, from, to, count, kernel) {
  const [reach, of] = KERNELS[kernel];
  const [start, end] = [Math.fround(from), Math.fround(to)]; // Pillow hands a box on as float32
  const scale = Math.fround(end - start) / count;
  const wide = Math.max(scale, 1);
  const taps = Math.ceil(reach * wide) * 2 + 1;
  const [starts, sizes, values] = [new Int32Array(count), new Int32Array(count), new Int32Array(count * taps)];
  for (let place = 0; place < count; place += 1) {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
    const found = [];
    for (let at = first; at < Math.min(side, Math.trunc(centre + reach * wide + 0.5)); at += 1) found.push(of((at - centre + 0.5) * (1 / wide)));
    const sum = found.reduce((total, one) => total + one, 0);
    [starts[place], sizes[place]] = [first, found.length];
    values.set(found.map((one) => fixed(sum === 0 ? one : one / sum)), place * taps);
  }
  return { count, taps, starts, sizes, values };
}

const fixed = (weight) => Math.trunc(weight * (1 << BITS) + (weight < 0 ? -0.5 : 0.5));

/** RGB of `width` x `height` with its rows, or its columns, made anew by weights. */
function along(data, width, height, { count, taps, starts, sizes, values }, down = false) {
  const found = new Uint8Array(3 * count * (down ? width : height));
  const [lines, step, across] = down ? [width, 3 * width, 3] : [height, 3, 3 * width];
  const [outStep, outAcross] = down ? [3 * width, 3] : [3, 3 * count];
  for (let line = 0; line < lines; line += 1)
    for (let place = 0; place < count; place += 1) {
      let at = line * across + starts[place] * step;
      let red = 1 << (BITS - 1);
      let green = red;
      let blue = red;
      for (let tap = place * taps; tap < place * taps + sizes[place]; tap += 1, at += step) {
        const weight = values[tap];
        red += data[at] * weight;
        green += data[at + 1] * weight;
        blue += data[at + 2] * weight;
      }
      const to = line * outAcross + place * outStep;
      found[to] = level(red);
      found[to + 1] = level(green);
      found[to + 2] = level(blue);
    }
  return found;
}

const level = (sum) => Math.min(255, Math.max(0, sum >> BITS));

/** Whether Python's decoder reads such a JPEG at a fraction of its size (`draft`), which no browser can be told to do. */
export function isDrafted({ jpeg, width, height }, { draft, size, crop }) {
  return jpeg === true && draft > 0 && Math.min(width, height) >= 2 * Math.ceil((draft * size) / crop);
}
