// Any picture that the browser knows as upright 8-bit RGBA. Colour profiles are not applied.

import { ImageError, MissingExtraError } from "./errors.js";
import { bytesOf } from "./files.js";

const MOST_PIXELS = 178_956_970; // as in Python

/** Whether this is a file, and no decoded picture. */
export const isEncoded = (image) => image instanceof Blob || image instanceof ArrayBuffer || ArrayBuffer.isView(image);

/** The pixels of a file: `{data, width, height, jpeg, turned}` for `toPixels`. */
export async function decode(file) {
  const bytes = await bytesOf(file);
  if (typeof createImageBitmap !== "function" || typeof OffscreenCanvas !== "function")
    throw new MissingExtraError("this platform decodes no pictures; give {data, width, height}");
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch (error) {
    throw new ImageError(`cannot read image ${file.name ?? "bytes"}: ${error.message}`, { cause: error });
  }
  try {
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) throw new ImageError(`it has ${width} x ${height} pixels, more than ${MOST_PIXELS}; make it smaller`);
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    const lying = jpegSize(bytes);
    return { data, width, height, jpeg: lying !== null, turned: lying !== null && lying[0] !== width };
  } finally {
    bitmap.close();
  }
}

/** Width and height of a JPEG as it lies in its file, or null. */
function jpegSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  for (let at = 2; at + 9 <= bytes.length && bytes[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
    const frame = bytes[at + 1] >= 0xc0 && bytes[at + 1] <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(bytes[at + 1]);
    if (frame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
  }
  return null;
}
