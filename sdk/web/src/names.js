// Names that become files: one rule for all of them, so that none leads out of its place.

import { ConfigError, shown } from "./errors.js";

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}$/;
const DEVICE = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)/i;
const LITTER = new Set([".ds_store", ".localized", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"]);

export const MANIFEST = "manifest.json";
export const SIGNATURE = "signature.json";

const isName = (part) => NAME.test(part) && !part.endsWith("\n") && !part.endsWith(".") && !DEVICE.test(part);

/** Whether a desktop left this file in a folder that was looked at. */
export function isLitter(path) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return LITTER.has(name.toLowerCase()) || name.startsWith("._");
}

/** Refuse a name that is not plain and relative, or that means another file on another system. */
export function checkFileName(name) {
  const plain = typeof name === "string" && name.length <= 240 && name.split("/").every(isName);
  if (!plain || [MANIFEST, SIGNATURE].includes(name.toLowerCase()))
    throw new ConfigError(`${shown(name)} is not a plain relative file name such as model.onnx or golden/images.npy`);
  return name;
}

/** Refuse files that cannot lie in one folder on every system. */
export function checkFileNames(names) {
  const files = new Set();
  const folders = new Map();
  for (const name of names) {
    const folded = checkFileName(name).toLowerCase();
    if (files.has(folded)) throw new ConfigError(`two file names differ only in upper and lower case: ${shown(name)}`);
    files.add(folded);
    for (let end = name.indexOf("/"); end >= 0; end = name.indexOf("/", end + 1)) {
      const known = folders.get(folded.slice(0, end)) ?? name.slice(0, end);
      if (known !== name.slice(0, end)) throw new ConfigError(`two folder names differ only in upper and lower case: ${shown(name)}`);
      folders.set(folded.slice(0, end), known);
    }
  }
  for (const name of files) if (folders.has(name)) throw new ConfigError(`${shown(name)} is a file and a folder at once; rename one`);
}
