// Assembles scan.wat into ../src/kernel.js:  npm run kernel

import { readFileSync, writeFileSync } from "node:fs";

import wabt from "wabt";

const SOURCE = new URL("scan.wat", import.meta.url);
const MODULE = new URL("../src/kernel.js", import.meta.url);

/** The text of ../src/kernel.js. */
export async function assembled() {
  const module = (await wabt()).parseWat("scan.wat", readFileSync(SOURCE, "utf8"), { simd: true });
  const text = Buffer.from(module.toBinary({}).buffer).toString("base64");
  return `// kernel/scan.wat, assembled by \`npm run kernel\`, in base64.\n\nexport const KERNEL =\n  "${text}";\n`;
}

if (process.argv[2] === "--write") writeFileSync(MODULE, await assembled());
