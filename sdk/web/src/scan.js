// The exact search: every row is scored, in a worker or here. Beside the rows stand only their lengths, 4 bytes a row.

import { blockRows, decoded, scorer } from "./score.js";

const NORM_TOLERANCE = 1e-3;

/** Parts of a gallery that stand one after the other, ready to be searched. */
export class Scan {
  #parts;
  #score;

  /**
   * @param parts Arrays of rows of `dim` numbers: Float32Array, Int8Array, or Uint16Array with the bits of half floats.
   * @throws Error A row is none that an index may see.
   */
  constructor(parts, dim) {
    this.dim = dim;
    this.#parts = parts.map((data) => ({ data, rows: data.length / dim, scales: scalesOf(data, dim) }));
    const { name, of } = scorer(dim);
    this.#score = of;
    /** What scores the rows: "simd" or "plain". */
    this.scoring = name;
  }

  /**
   * The best k rows of one query: `{rows, scores}`, best first.
   *
   * Of equal scores the lower row comes first.
   */
  find(query, k) {
    const rows = new Int32Array(k);
    const scores = new Float32Array(k).fill(-Infinity);
    const step = blockRows(this.dim);
    let [found, first] = [0, 0];
    for (const part of this.#parts) {
      const score = this.#score(query, part.data);
      for (let start = 0; start < part.rows; start += step) {
        const count = Math.min(step, part.rows - start);
        const block = score(start, count);
        for (let row = 0; row < count; row += 1) {
          const value = part.scales ? Math.fround(block[row] * part.scales[start + row]) : block[row];
          if (found === k && !(value > scores[k - 1])) continue;
          let place = found < k ? found++ : k - 1;
          for (; place > 0 && value > scores[place - 1]; place -= 1) {
            scores[place] = scores[place - 1];
            rows[place] = rows[place - 1];
          }
          scores[place] = value;
          rows[place] = first + start + row;
        }
      }
      first += part.rows;
    }
    for (let place = 0; place < found; place += 1) scores[place] = Math.max(-1, Math.min(1, scores[place]));
    return { rows: rows.subarray(0, found), scores: scores.subarray(0, found) };
  }
}

/** 1 / length of each row, null for float32, whose rows have length 1. */
function scalesOf(data, dim) {
  const [rows, step] = [data.length / dim, blockRows(dim)];
  const scales = data instanceof Float32Array ? null : new Float32Array(rows);
  for (let start = 0; start < rows; start += step) {
    const block = decoded(data, dim, start, Math.min(step, rows - start));
    for (let at = 0, row = start; at < block.length; row += 1) {
      let sum = 0;
      for (const end = at + dim; at < end; at += 1) sum += block[at] * block[at];
      const norm = Math.sqrt(sum);
      if (scales ? !(norm > 0 && norm < Infinity) : !(Math.abs(norm - 1) <= NORM_TOLERANCE)) throw new Error(`row ${row} is no finite vector with a direction`);
      if (scales) scales[row] = 1 / norm;
    }
  }
  return scales;
}
