// Embedding spaces: which vectors may be compared with which.

import { ConfigError, IncompatibleSpaceError, VectorError, shown } from "./errors.js";

const SPACE = /^[A-Za-z0-9._-]{1,120}$/;
const COVERS_ALL = /^.+-[0-9]+-[0-9a-f]{16}$/;
const NORM_TOLERANCE = 1e-3;

/** Refuse what is no space identifier: 1 to 120 letters, digits, dots, dashes, underscores. */
export function checkSpace(space) {
  if (typeof space !== "string" || !SPACE.test(space))
    throw new ConfigError(`${shown(space)} is not a space identifier; expected 1 to 120 of the characters A-Z a-z 0-9 . _ -`);
  return space;
}

/** Whether a space's name is a digest of everything that decides a vector. */
export const coversAll = (space) => COVERS_ALL.test(space);

/** Vectors that know the embedding space they were written in. */
export class Embeddings {
  /**
   * @param vectors Float32Array of n rows of dim numbers, finite and of unit length. Kept, not copied.
   * @param dim Numbers per vector.
   * @param space Space that they were written in.
   * @param searches Gallery spaces that they may search besides their own.
   */
  constructor(vectors, dim, space, searches = []) {
    if (!(vectors instanceof Float32Array) || !(dim >= 1) || vectors.length % dim !== 0)
      throw new VectorError(`vectors are ${vectors?.constructor?.name} of ${vectors?.length}; expected a Float32Array of rows of ${dim}`);
    const bad = rowsThat(vectors, dim, (norm) => !(Math.abs(norm - 1) <= NORM_TOLERANCE));
    if (bad.length) throw new VectorError(`rows ${bad.slice(0, 10)} are not finite and of unit length`);
    checkSpace(space);
    searches.forEach(checkSpace);
    Object.assign(this, { vectors, dim, space, searches: [...searches] });
  }

  /** How many vectors there are. */
  get length() {
    return this.vectors.length / this.dim;
  }
}

/** Refuse a search whose scores would mean nothing. */
export function requireCompatible({ space, searches }, gallerySpace) {
  if (space === gallerySpace || searches.includes(gallerySpace)) return;
  throw new IncompatibleSpaceError(
    `query vectors are in space ${space} and may search ${searches.join(", ") || "no other space"}, but the gallery is in ${gallerySpace}; ` +
      "embed them with the gallery's own model or with a query model trained against it",
  );
}

/** Rows divided by their length; a row without a direction is refused. */
export function unitRows(vectors, dim, what) {
  const bad = rowsThat(vectors, dim, (norm) => !(norm > 0 && norm < Infinity));
  if (bad.length) throw new VectorError(`${what}: rows ${bad.slice(0, 10)} hold NaN, infinity or zeros alone; run the self-test`);
  const found = new Float32Array(vectors.length);
  for (let start = 0; start < vectors.length; start += dim) {
    const norm = length(vectors, start, dim);
    for (let at = start; at < start + dim; at += 1) found[at] = vectors[at] / norm;
  }
  return found;
}

function rowsThat(vectors, dim, isBad) {
  const found = [];
  for (let row = 0; row * dim < vectors.length; row += 1) if (isBad(length(vectors, row * dim, dim))) found.push(row);
  return found;
}

function length(vectors, start, dim) {
  let sum = 0;
  for (let at = start; at < start + dim; at += 1) sum += vectors[at] * vectors[at];
  return Math.sqrt(sum);
}
