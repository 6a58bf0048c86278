// Errors that a caller can act on, by the names that they have in Python (compat_sdk.errors).

export class CompatError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** A setting is out of its range, or two settings clash. */
export class ConfigError extends CompatError {}
export class DataError extends CompatError {}
/** One image cannot be read. */
export class ImageError extends DataError {}
/** Vectors that no index may see: NaN, zero, wrong shape. */
export class VectorError extends CompatError {}
/** A file differs from its recorded digest, size or format. */
export class CorruptFileError extends CompatError {}
/** A bundle is incomplete, malformed or of a version that this release cannot read. */
export class BundleError extends CorruptFileError {}
/** A stored gallery is incomplete, malformed or of a version that this release cannot read. */
export class GalleryError extends CorruptFileError {}
/** Query and gallery live in different embedding spaces. */
export class IncompatibleSpaceError extends CompatError {}
/** Something that this needs is not there: an engine, or a part of the browser. */
export class MissingExtraError extends CompatError {}
/** A self-test did not hold. */
export class CheckFailedError extends CompatError {}

/** How an error shows a value that it found: on one line, shortened. */
export function shown(value) {
  const text = typeof value === "bigint" ? `${value}` : (JSON.stringify(value?.value ?? value, plain) ?? typeof value);
  const safe = text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);
  return safe.length > 80 ? `${safe.slice(0, 52)}...${safe.slice(-25)}` : safe;
}

const plain = (key, value) => (typeof value === "bigint" ? Number(value) : value);

/** Run `step`, and give what it raises the class of the file that was read. */
export async function within(Kind, what, step) {
  try {
    return await step();
  } catch (error) {
    if (error instanceof Kind || error instanceof MissingExtraError) throw error;
    throw new Kind(`${what}: ${error.message}`, { cause: error });
  }
}
