// The kernel of the search: it is what its source assembles to, and scores as plain JavaScript does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { assembled } from "../kernel/assemble.mjs";
import { decoded } from "../src/score.js";
import { Scan } from "../src/scan.js";
import { without } from "./without.js";

/** Numbers from -1 to 1, the same each time. */
function* numbers(seed) {
  for (let state = seed; ; ) yield (state = (state * 48271) % 2147483647) / 1073741823.5 - 1;
}

function unit(count, dim, seed) {
  const found = Float32Array.from({ length: count * dim }, ((draw) => () => draw.next().value)(numbers(seed)));
  for (let row = 0; row < count; row += 1) {
    const part = found.subarray(row * dim, (row + 1) * dim);
    const norm = Math.hypot(...part);
    part.forEach((value, at) => (part[at] = value / norm));
  }
  return found;
}

/** Bits of the half float that is next towards zero; of small numbers a subnormal one. */
function half(value) {
  const size = Math.abs(value);
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1e-9)));
  const fraction = Math.floor((size / 2 ** exponent) * 1024);
  return (value < 0 ? 0x8000 : 0) | (fraction < 1024 ? fraction : ((exponent + 15) << 10) | (fraction - 1024));
}

const KINDS = {
  float32: (rows) => rows,
  float16: (rows) => Uint16Array.from(rows, half),
  int8: (rows) => Int8Array.from(rows, (value) => Math.round(value * 127)),
};

test("the kernel is what its source assembles to", async () => {
  assert.equal(readFileSync(new URL("../src/kernel.js", import.meta.url), "utf8"), await assembled());
});

for (const [kind, stored] of Object.entries(KINDS))
  test(`${kind}: every row has the score that its numbers have, whatever the dimension`, async () => {
    for (const dim of [1, 3, 7, 8, 9, 16, 33, 128, 2048]) {
      const count = dim > 1000 ? 70 : 601; // more than a block of rows
      const rows = unit(count, dim, dim);
      rows.copyWithin(5 * dim, 2 * dim, 3 * dim); // row 5 is row 2 once more
      const data = stored(rows);
      const query = rows.slice(2 * dim, 3 * dim);
      const fast = new Scan([data.slice(0, 4 * dim), data.slice(4 * dim)], dim);
      const slow = await without(() => new Scan([data], dim));
      assert.deepEqual([fast.scoring, slow.scoring], ["simd", "plain"]);
      const [found, expected] = [fast.find(query, count), slow.find(query, count)];
      const scores = new Map(Array.from(expected.rows, (row, at) => [row, expected.scores[at]]));
      assert.equal(new Set(found.rows).size, count);
      found.rows.forEach((row, at) => assert.ok(Math.abs(found.scores[at] - scores.get(row)) < 5e-7, `${dim}: ${found.scores[at]} ${scores.get(row)}`));
      const twice = found.rows.indexOf(2);
      if (dim > 1) assert.deepEqual([found.rows[twice + 1], found.scores[twice + 1]], [5, found.scores[twice]]);
    }
  });

test("int8 is summed exactly: the score of each row is that of its whole numbers", () => {
  const dim = 8000; // sums beyond 2^24, which no float32 holds
  const data = Int8Array.from({ length: dim }, (_, at) => (at % 3 ? 127 : -128));
  const query = Float32Array.from(data, (code) => Math.sign(code) / Math.sqrt(dim));
  const norm = Math.sqrt(data.reduce((sum, code) => sum + code * code, 0));
  const sum = data.reduce((all, code, at) => all + BigInt(code) * BigInt(Math.round(query[at] * 2 ** 26)), 0n);
  const [score] = new Scan([data], dim).find(query, 1).scores;
  assert.equal(score, Math.fround(Math.fround(Number(sum) / 2 ** 26) * Math.fround(1 / norm)));
});

test("half floats are decoded to the bit, subnormal ones too", () => {
  const data = Uint16Array.from([1, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x8001, 0x7bff, 0]);
  assert.deepEqual([...decoded(data, 8, 0, 1)], [2 ** -24, 1023 * 2 ** -24, 2 ** -14, 1, -1, -(2 ** -24), 65504, 0]);
});

test("rows of more numbers than the kernel can add are scored without it", () => {
  assert.equal(new Scan([new Int8Array(8192).fill(1)], 8192).scoring, "plain");
});

test("a page whose policy allows no WebAssembly is searched in JavaScript", () => {
  const { Module } = WebAssembly;
  WebAssembly.Module = class {
    constructor() {
      throw new WebAssembly.CompileError("refused by the page's policy");
    }
  };
  try {
    assert.equal(new Scan([Float32Array.of(1, 0)], 2).scoring, "plain");
  } finally {
    WebAssembly.Module = Module;
  }
});
