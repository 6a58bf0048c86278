// A bundle as one zip file, in the one form that compat-sdk writes: stored, in order, without a gap.
//
// Every header can be made again from names, sizes and checksums, and is compared. See compat_sdk/bundle/archive.py.

import { BundleError, shown } from "./errors.js";
import { MANIFEST, SIGNATURE, checkFileName, checkFileNames } from "./names.js";

const [LOCAL, CENTRAL, END] = [30, 46, 22];
const [MOST_FILES, MOST_DIRECTORY] = [10_000, 4 << 20];
const REPACK = "get the bundle again from its source, or unpack it and write it again with `compat-sdk bundle pack`";

/** The files in a zip, by name, as views of its bytes; each was compared with its CRC-32. */
export function readZip(bytes, path) {
  const refuse = (why) => {
    throw new BundleError(`${path} ${why}; ${REPACK}`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - END;
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) refuse("is not a bundle: it does not end as a zip file does");
  const [count, size, offset] = [view.getUint16(end + 10, true), view.getUint32(end + 12, true), view.getUint32(end + 16, true)];
  if (count > MOST_FILES || size > MOST_DIRECTORY || offset + size !== end) refuse("has bytes around its directory, or too large a one");
  const entries = [];
  for (let at = offset, begin = 0; at < end; ) {
    if (at + CENTRAL > end) refuse("has a directory that is cut within a record");
    const [crc, length, letters] = [view.getUint32(at + 16, true), view.getUint32(at + 24, true), view.getUint16(at + 28, true)];
    const name = new TextDecoder().decode(bytes.subarray(at + CENTRAL, at + CENTRAL + letters));
    if (name !== MANIFEST && name !== SIGNATURE) checkFileName(name);
    const entry = { name, crc, size: length, offset: begin };
    const start = begin + LOCAL + letters;
    if (!equal(header(entry, false), bytes, begin) || !equal(header(entry, true), bytes, at))
      refuse(`describes ${shown(name)} as no bundle does: compressed, a link, or in two ways`);
    if (start + length > offset) refuse(`has ${shown(name)} beyond its directory`);
    entries.push({ name, crc, data: bytes.subarray(start, start + length) });
    [at, begin] = [at + CENTRAL + letters, start + length];
    if (at >= end && begin !== offset) refuse("has a gap before its directory");
  }
  const names = entries.map((entry) => entry.name);
  if (entries.length !== count || !equal(ending(count, size, offset), bytes, end)) refuse("counts its entries otherwise than it lists them");
  if (names.some((name, place) => place > 0 && !(names[place - 1] < name))) refuse("has entries out of order, or one twice");
  checkFileNames(names.filter((name) => name !== MANIFEST && name !== SIGNATURE)); // openBundle makes a BundleError of it
  for (const { name, crc, data } of entries) if (crc32(data) !== crc) refuse(`has ${name} damaged: its CRC-32 is another one`);
  return new Map(entries.map(({ name, data }) => [name, data]));
}

/** The header in front of an entry's content, or its record in the directory at the end. */
function header({ name, crc, size, offset }, central) {
  const both = [20, 0, 0, 0, (1 << 5) | 1, crc, size, size, name.length, 0];
  const numbers = central
    ? packed("42222224442222244", [0x02014b50, (3 << 8) | 20, ...both, 0, 0, 0, 0o100644 << 16, offset])
    : packed("42222244422", [0x04034b50, ...both]);
  return [...numbers, ...new TextEncoder().encode(name)];
}

const ending = (count, size, offset) => packed("42222442", [0x06054b50, 0, 0, count, count, size, offset, 0]);

/** The bytes of numbers, the lowest first; `sizes` has how many of each. */
const packed = (sizes, numbers) => numbers.flatMap((value, at) => Array.from({ length: sizes[at] }, (_, byte) => (value >>> (8 * byte)) & 255));

const equal = (wanted, bytes, at) => at + wanted.length <= bytes.length && wanted.every((byte, place) => bytes[at + place] === byte);

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

const TABLE = Int32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
