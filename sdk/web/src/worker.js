// A part of a gallery in a worker: it is handed the rows, and answers searches.

import { Scan } from "./scan.js";

let scan;

addEventListener("message", ({ data: { open, query, k } }) => {
  try {
    if (open) scan = new Scan(open.parts, open.dim);
    postMessage({ found: open ? scan.scoring : scan.find(query, k) });
  } catch (error) {
    postMessage({ problem: error.message });
  }
});
