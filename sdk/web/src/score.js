// What scores rows of a gallery: the kernel of WebAssembly, or JavaScript where a platform has no SIMD. Rows stay as they are
// stored; a block of them at a time is copied or decoded.

import { KERNEL } from "./kernel.js";

/** Numbers of a block: what lies in a processor's cache, at 4 bytes each. */
const BLOCK = 65536;
const MOST_OF_KERNEL = 8191; // beyond it a sum of int8 might not fit its 32 bits
const HALF_SCALE = 2 ** 112; // by which a half float is too small after its bits were moved to a float's places

/** Rows of a block: as many as its numbers allow. */
export const blockRows = (dim) => Math.max(1, Math.floor(BLOCK / dim));

/** Some rows as float32; `data` as in `Scan`. Of a half float that is not finite comes NaN. */
export function decoded(data, dim, start, count) {
  const part = data.subarray(start * dim, (start + count) * dim);
  if (part instanceof Float32Array) return part;
  if (part instanceof Int8Array) return new Float32Array(part);
  const found = new Float32Array(part.length);
  const words = new Uint32Array(found.buffer); // as in kernel/scan.wat
  for (let at = 0; at < part.length; at += 1) {
    words[at] = ((part[at] & 0x8000) << 16) | ((part[at] & 0x7fff) << 13);
    found[at] *= (part[at] & 0x7c00) === 0x7c00 ? NaN : HALF_SCALE;
  }
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
  } catch {
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
    const width = Math.log2(data.BYTES_PER_ELEMENT);
    put(query, data, padded, memory.buffer);
    return (start, count) => {
      const block = new data.constructor(memory.buffer, first, count * dim);
      block.set(data.subarray(start * dim, (start + count) * dim));
      exports.products(width, 0, dim, first, count, out);
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

/** The product of the query with each row, in float64. */
function products(query, data, dim) {
  const found = new Float32Array(data.length / dim);
  for (let row = 0, at = 0; row < found.length; row += 1) {
    let sum = 0;
    for (let place = 0; place < dim; place += 1, at += 1) sum += data[at] * query[place];
    found[row] = sum;
  }
  return found;
}
