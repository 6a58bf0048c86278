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
  const scales = data instanceof Float32Array ? null : new Float32Array(rows); // 1 / length
  for (let row = 0; row < rows; row += 1) {
    let sum = 0;
    for (let at = row * dim; at < (row + 1) * dim; at += 1) {
      const value = data instanceof Uint16Array ? HALVES[data[at]] : data[at];
      sum += value * value;
    }
    const norm = Math.sqrt(sum);
    if (scales ? !(norm > 0 && norm < Infinity) : !(Math.abs(norm - 1) <= NORM_TOLERANCE)) throw new Error(`row ${row} is no finite vector with a direction`);
    if (scales) scales[row] = 1 / norm;
  }
  return { data, scales, rows };
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
    const block = new Float32Array(4096); // a multiple of four
    for (let start = 0; start < part.rows; start += block.length) {
      const count = Math.min(block.length, part.rows - start);
      SCORE[part.data.constructor.name](part.data, query, dim, start, count, block);
      for (let row = 0; row < count; row += 1) {
        const score = part.scales ? Math.fround(block[row] * part.scales[start + row]) : block[row];
        if (found === k && !(score > scores[k - 1])) continue;
        let place = found < k ? found++ : k - 1;
        for (; place > 0 && score > scores[place - 1]; place -= 1) {
          scores[place] = scores[place - 1];
          rows[place] = rows[place - 1];
        }
        scores[place] = score;
        rows[place] = first + start + row;
      }
    }
    first += part.rows;
  }
  for (let place = 0; place < found; place += 1) scores[place] = Math.max(-1, Math.min(1, scores[place]));
  return { rows: rows.subarray(0, found), scores: scores.subarray(0, found) };
}

// One function a type, so that each loop is compiled for one kind of array. Four rows at once read the query once, and let the
// processor add side by side; beyond the last row that one is read again, for nothing.
const SCORE = {
  Float32Array(data, query, dim, start, count, out) {
    const last = (start + count - 1) * dim;
    for (let row = 0, at = start * dim; row < count; row += 4, at += 4 * dim) {
      const second = Math.min(at + dim, last);
      const third = Math.min(at + 2 * dim, last);
      const fourth = Math.min(at + 3 * dim, last);
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let place = 0; place < dim; place += 1) {
        const value = query[place];
        a += data[at + place] * value;
        b += data[second + place] * value;
        c += data[third + place] * value;
        d += data[fourth + place] * value;
      }
      out[row] = a;
      out[row + 1] = b;
      out[row + 2] = c;
      out[row + 3] = d;
    }
  },
  Int8Array(data, query, dim, start, count, out) {
    const last = (start + count - 1) * dim;
    for (let row = 0, at = start * dim; row < count; row += 4, at += 4 * dim) {
      const second = Math.min(at + dim, last);
      const third = Math.min(at + 2 * dim, last);
      const fourth = Math.min(at + 3 * dim, last);
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let place = 0; place < dim; place += 1) {
        const value = query[place];
        a += data[at + place] * value;
        b += data[second + place] * value;
        c += data[third + place] * value;
        d += data[fourth + place] * value;
      }
      out[row] = a;
      out[row + 1] = b;
      out[row + 2] = c;
      out[row + 3] = d;
    }
  },
  Uint16Array(data, query, dim, start, count, out) {
    const last = (start + count - 1) * dim;
    for (let row = 0, at = start * dim; row < count; row += 4, at += 4 * dim) {
      const second = Math.min(at + dim, last);
      const third = Math.min(at + 2 * dim, last);
      const fourth = Math.min(at + 3 * dim, last);
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let place = 0; place < dim; place += 1) {
        const value = query[place];
        a += HALVES[data[at + place]] * value;
        b += HALVES[data[second + place]] * value;
        c += HALVES[data[third + place]] * value;
        d += HALVES[data[fourth + place]] * value;
      }
      out[row] = a;
      out[row + 1] = b;
      out[row + 2] = c;
      out[row + 3] = d;
    }
  },
};
