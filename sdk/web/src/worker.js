// A part of a gallery in a worker: it is handed the rows, and answers searches.

import { Scan } from "./scan.js";

let scan;

addEventListener("message", ({ data: { id, open, query, k } }) => {
  try {
    if (open) scan = new Scan(open.parts, open.dim);
    postMessage({ id, found: open ? scan.scoring : scan.find(query, k) });
  } catch (error) {
    postMessage({ id, problem: error.message });
  }
});
