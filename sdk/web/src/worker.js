// A part of a gallery in a worker: it is handed the rows, and answers searches.

import { preparePart, scan } from "./scan.js";

let parts = [];
let dim = 0;

addEventListener("message", ({ data: { id, open, query, k } }) => {
  try {
    if (open) [parts, dim] = [open.parts.map((part) => preparePart(part, open.dim)), open.dim];
    postMessage({ id, found: open ? null : scan(parts, dim, query, k) });
  } catch (error) {
    postMessage({ id, problem: error.message });
  }
});
