// The exact search: every row is scored, in a worker or here. Rows stay as they are stored; float16 and int8 are decoded as they
// are scored, and their lengths, 4 bytes a row, are all that is kept beside them.

const NORM_TOLERANCE = 1e-3;

/** Value of each of the 65,536 half floats. */
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
});

/**
 * A part of a gallery, ready to be searched; throws where a row is none that an index may see.
 *
 * @param data Float32Array, Int8Array, or Uint16Array with the bits of half floats; rows of `dim` numbers.
 */
export function preparePart(data, dim) {
  const rows = data.length / dim;
  const norms = data instanceof Float32Array ? null : new Float32Array(rows);
  for (let row = 0; row < rows; row += 1) {
    let sum = 0;
    for (let at = row * dim; at < (row + 1) * dim; at += 1) {
      const value = data instanceof Uint16Array ? HALVES[data[at]] : data[at];
      sum += value * value;
    }
    const norm = Math.sqrt(sum);
    if (norms ? !(norm > 0 && norm < Infinity) : !(Math.abs(norm - 1) <= NORM_TOLERANCE)) throw new Error(`row ${row} is no finite vector with a direction`);
    if (norms) norms[row] = 1 / norm;
  }
  return { data, norms, rows };
}

/**
 * The best k rows of one query over parts that stand one after the other: `{rows, scores}`, best first.
 *
 * Of equal scores the lower row comes first.
 */
export function scan(parts, dim, query, k) {
  const rows = new Int32Array(k);
  const scores = new Float32Array(k).fill(-Infinity);
  let [found, first] = [0, 0];
  for (const part of parts) {
    const block = new Float32Array(Math.min(4096, part.rows));
    for (let start = 0; start < part.rows; start += block.length) {
      const count = Math.min(block.length, part.rows - start);
      SCORE[part.data.constructor.name](part.data, part.norms, query, dim, start, count, block);
      for (let row = 0; row < count; row += 1) {
        const score = block[row];
        if (found === k && !(score > scores[k - 1])) continue;
        let place = found < k ? found++ : k - 1;
        for (; place > 0 && score > scores[place - 1]; place -= 1) [scores[place], rows[place]] = [scores[place - 1], rows[place - 1]];
        [scores[place], rows[place]] = [score, first + start + row];
      }
    }
    first += part.rows;
  }
  for (let place = 0; place < found; place += 1) scores[place] = Math.max(-1, Math.min(1, scores[place]));
  return { rows: rows.subarray(0, found), scores: scores.subarray(0, found) };
}

// One function a type, so that each loop is compiled for one kind of array. Four sums let the processor add side by side.
const SCORE = {
  Float32Array(data, norms, query, dim, start, count, out) {
    for (let row = 0, at = start * dim; row < count; row += 1) {
      let [a, b, c, d, place] = [0, 0, 0, 0, 0];
      for (; place + 3 < dim; place += 4, at += 4) {
        a += data[at] * query[place];
        b += data[at + 1] * query[place + 1];
        c += data[at + 2] * query[place + 2];
        d += data[at + 3] * query[place + 3];
      }
      for (; place < dim; place += 1, at += 1) a += data[at] * query[place];
      out[row] = a + b + (c + d);
    }
  },
  Int8Array(data, norms, query, dim, start, count, out) {
    for (let row = 0, at = start * dim; row < count; row += 1) {
      let [a, b, c, d, place] = [0, 0, 0, 0, 0];
      for (; place + 3 < dim; place += 4, at += 4) {
        a += data[at] * query[place];
        b += data[at + 1] * query[place + 1];
        c += data[at + 2] * query[place + 2];
        d += data[at + 3] * query[place + 3];
      }
      for (; place < dim; place += 1, at += 1) a += data[at] * query[place];
      out[row] = (a + b + (c + d)) * norms[start + row];
    }
  },
  Uint16Array(data, norms, query, dim, start, count, out) {
    for (let row = 0, at = start * dim; row < count; row += 1) {
      let [a, b, c, d, place] = [0, 0, 0, 0, 0];
      for (; place + 3 < dim; place += 4, at += 4) {
        a += HALVES[data[at]] * query[place];
        b += HALVES[data[at + 1]] * query[place + 1];
        c += HALVES[data[at + 2]] * query[place + 2];
        d += HALVES[data[at + 3]] * query[place + 3];
      }
      for (; place < dim; place += 1, at += 1) a += HALVES[data[at]] * query[place];
      out[row] = (a + b + (c + d)) * norms[start + row];
    }
  },
};
