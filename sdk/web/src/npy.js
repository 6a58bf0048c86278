// Arrays of numpy's .npy format, versions 1 to 3: the types that bundles and galleries hold, row by row.

import { CorruptFileError, shown } from "./errors.js";

const TYPES = {
  "|u1": ["uint8", Uint8Array],
  "|i1": ["int8", Int8Array],
  "<f2": ["float16", Uint16Array],
  "<f4": ["float32", Float32Array],
};
const HEADER = /^\{'descr': '([^']{1,8})', 'fortran_order': (False|True), 'shape': \(([\d, ]*)\), \}\s*$/;

/** `{dtype, shape, data}` of a file's bytes; `data` is a view where the bytes allow, float16 as its 16 bits. */
export function readNpy(bytes, name) {
  const refuse = (why) => {
    throw new CorruptFileError(`${name} is not a readable .npy file (${why}); restore it from its source`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || String.fromCharCode(...bytes.subarray(1, 6)) !== "NUMPY" || bytes[0] !== 0x93) refuse("it is none");
  const [size, start] = bytes[6] === 1 ? [view.getUint16(8, true), 10] : [view.getUint32(8, true), 12];
  if (bytes[6] < 1 || bytes[6] > 3 || size > 65536 || start + size > bytes.length) refuse("its header is cut or of another version");
  const header = HEADER.exec(new TextDecoder().decode(bytes.subarray(start, start + size)));
  const [dtype, Type] = (header && TYPES[header[1]]) ?? refuse(`its header says ${shown(header?.[1])}`);
  const shape = header[3].split(",").filter((axis) => axis.trim()).map(Number);
  const count = shape.reduce((product, axis) => product * axis, 1);
  if (header[2] === "True" && shape.length > 1) refuse("it lies column by column");
  if (!(count * Type.BYTES_PER_ELEMENT <= bytes.length - start - size)) refuse("it is cut");
  const at = bytes.byteOffset + start + size;
  const aligned = at % Type.BYTES_PER_ELEMENT === 0;
  return { dtype, shape, data: aligned ? new Type(bytes.buffer, at, count) : new Type(bytes.slice(start + size).buffer, 0, count) };
}
