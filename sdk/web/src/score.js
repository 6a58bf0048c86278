// What scores rows of a gallery: the kernel of WebAssembly, or JavaScript where a platform has no SIMD. Rows stay as they are
// stored; a block of them at a time is copied or decoded.

import { KERNEL } from "./kernel.js";

/** Numbers of a block: what lies in a processor's cache, at 4 bytes each. */
const BLOCK = 65536;
const MOST_OF_KERNEL = 8191; // beyond it a sum of int8 might not fit its 32 bits
const HALF_SCALE = 2 ** 112; // see kernel/scan.wat
const NAMES = { Float32Array: "float32", Uint16Array: "float16", Int8Array: "int8" };

/** Value of each of the 65,536 half floats. */
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
});

/** Rows of a block: as many as its numbers allow. */
export const blockRows = (dim) => Math.max(1, Math.floor(BLOCK / dim));

/** Some rows as float32; `data` as in `preparePart`. */
export function decoded(data, dim, start, count) {
  const part = data.subarray(start * dim, (start + count) * dim);
  if (part instanceof Float32Array) return part;
  if (part instanceof Int8Array) return new Float32Array(part);
  const found = new Float32Array(part.length);
  for (let at = 0; at < part.length; at += 1) found[at] = HALVES[part[at]];
  return found;
}

/**
 * What scores rows of `dim` numbers here: `{name, of}`.
 *
 * `name` is "simd" or "plain". `of(query, data)` gives a function of `start` and `count`, at most `blockRows(dim)`, whose answer
 * is the product of the query with each of those rows as float32. It holds until the next, the function until the next `of`.
 */
export function scorer(dim) {
  try {
    if (dim <= MOST_OF_KERNEL) return { name: "simd", of: kernel(dim) };
  } catch (error) {
    // No WebAssembly, none with SIMD, or a page's policy allows none: `name` says so.
  }
  return { name: "plain", of: (query, data) => (start, count) => products(query, decoded(data, dim, start, count), dim) };
}

/** In the kernel's memory stand the query, the products of a block, and its rows. */
function kernel(dim) {
  const [rows, padded] = [blockRows(dim), Math.ceil(dim / 8) * 8];
  const [out, first] = [4 * padded, 4 * padded + 16 * Math.ceil(rows / 4)];
  const memory = new WebAssembly.Memory({ initial: Math.ceil((first + 4 * dim * rows + 32) / 65536) });
  const module = new WebAssembly.Module(Uint8Array.from(atob(KERNEL), (letter) => letter.charCodeAt(0)));
  const { exports } = new WebAssembly.Instance(module, { scan: { memory } });
  return (query, data) => {
    const run = exports[NAMES[data.constructor.name]];
    put(query, data, padded, memory.buffer);
    return (start, count) => {
      const block = new data.constructor(memory.buffer, first, count * dim);
      block.set(data.subarray(start * dim, (start + count) * dim));
      run(0, dim, first, count, out);
      return new Float32Array(memory.buffer, out, count);
    };
  };
}

/** The query as the kernel for these rows wants it. */
function put(query, data, padded, buffer) {
  if (!(data instanceof Int8Array)) {
    const scale = data instanceof Uint16Array ? HALF_SCALE : 1;
    new Float32Array(buffer, 0, padded).fill(0).set(query.map((value) => value * scale));
    return;
  }
  const codes = new Int16Array(buffer, 0, 2 * padded).fill(0);
  for (const [at, value] of query.entries()) {
    const coarse = Math.round(value * 2 ** 14);
    const place = 2 * at - (at % 8);
    codes[place] = coarse;
    codes[place + 8] = Math.round((value * 2 ** 14 - coarse) * 2 ** 12);
  }
}

/** Four rows at once read the query once, and let the processor add side by side; beyond the last row that one is read again. */
function products(query, data, dim) {
  const count = data.length / dim;
  const found = new Float32Array(count + 3);
  const last = data.length - dim;
  for (let row = 0, at = 0; row < count; row += 4, at += 4 * dim) {
    const [second, third, fourth] = [Math.min(at + dim, last), Math.min(at + 2 * dim, last), Math.min(at + 3 * dim, last)];
    let [a, b, c, d] = [0, 0, 0, 0];
    for (let place = 0; place < dim; place += 1) {
      const value = query[place];
      a += data[at + place] * value;
      b += data[second + place] * value;
      c += data[third + place] * value;
      d += data[fourth + place] * value;
    }
    found[row] = a;
    found[row + 1] = b;
    found[row + 2] = c;
    found[row + 3] = d;
  }
  return found;
}
