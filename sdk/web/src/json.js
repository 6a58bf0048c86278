// JSON whose digest was taken in Python: read strictly, and written as Python writes it.
//
// JSON.parse forgets whether a number was 1 or 1.0, and the digest of a document depends on it. So numbers pass through it as
// texts, and come out as integers (number, or bigint beyond 2^53) and as `Float`.

import { CorruptFileError } from "./errors.js";

const LARGEST = 64 << 20;
const DEEPEST = 32;
const TOKEN = /"[^"\\]*(?:\\[^][^"\\]*)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|:/g;

/** A number that JSON has with a point or an exponent. */
export class Float {
  constructor(value) {
    this.value = value;
  }
  toJSON() {
    return this.value;
  }
}

/** The object in a document, refusing what two readers could understand differently. */
export function parseJson(bytes, name) {
  try {
    if (bytes.length > LARGEST) throw new Error(`it has ${bytes.length} bytes, expected at most ${LARGEST}`);
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    let members = 0;
    const marked = text.replace(TOKEN, (token) => {
      if (token === ":") members += 1;
      return token === ":" ? token : token[0] === '"' ? `"s${token.slice(1)}` : `"n${token}"`;
    });
    const counted = { members: 0 };
    const value = unmarked(JSON.parse(marked), 0, counted);
    if (counted.members !== members) throw new Error("a key occurs twice");
    if (!isObject(value)) throw new Error("it is no object");
    return value;
  } catch (error) {
    throw new CorruptFileError(`${name} is not valid JSON (${error.message.slice(0, 80)}); restore it from its source`);
  }
}

/** Whether a parsed value is a JSON object. */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Float);

/** The one text that stands for a value: sorted keys, no spaces; or, indented, as files have it. */
export function canonicalJson(value, indented = false, line = "\n") {
  if (value instanceof Float) return floatText(value.value);
  if (typeof value !== "object" || value === null) return typeof value === "bigint" ? `${value}` : JSON.stringify(value);
  const inner = `${line}  `;
  const parts = Array.isArray(value)
    ? value.map((item) => canonicalJson(item, indented, inner))
    : Object.keys(value)
        .sort(byCodePoint)
        .map((key) => `${JSON.stringify(key)}:${indented ? " " : ""}${canonicalJson(value[key], indented, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (parts.length === 0) return open + close;
  return indented ? open + inner + parts.join(`,${inner}`) + line + close : open + parts.join(",") + close;
}

/** The same value with ordinary numbers, for a caller. */
export function plainJson(value) {
  if (value instanceof Float) return value.value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plainJson);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainJson(item)]));
}

function unmarked(value, depth, counted) {
  if (depth > DEEPEST) throw new Error(`it is nested more than ${DEEPEST} levels deep`);
  if (typeof value === "string") return value[0] === "n" ? number(value.slice(1)) : wellFormed(value.slice(1));
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => unmarked(item, depth + 1, counted));
  const found = Object.create(null);
  for (const [key, item] of Object.entries(value)) {
    counted.members += 1;
    found[wellFormed(key.slice(1))] = unmarked(item, depth + 1, counted);
  }
  return found;
}

function number(text) {
  if (/[.eE]/.test(text)) {
    if (!Number.isFinite(Number(text))) throw new Error(`it holds ${text.slice(0, 20)}, beyond a finite number`);
    return new Float(Number(text));
  }
  const found = BigInt(text);
  if (found < -(1n << 63n) || found >= 1n << 64n) throw new Error("it holds a number of more than 64 bits");
  return Number.isSafeInteger(Number(found)) ? Number(found) : found;
}

function wellFormed(text) {
  if (/\p{Cs}/u.test(text)) throw new Error("it holds half of a surrogate pair");
  return text;
}

/** A float64 as Python's repr has it: the fewest digits that give it back. */
function floatText(value) {
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa, power] = Math.abs(value).toExponential().split("e");
  const [digits, exponent] = [mantissa.replace(".", ""), Number(power)];
  const sign = value < 0 ? "-" : "";
  if (exponent >= 16 || exponent < -4)
    return `${sign}${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  return `${sign}${digits.slice(0, exponent + 1).padEnd(exponent + 1, "0")}.${digits.slice(exponent + 1) || "0"}`;
}

/** JavaScript sorts texts by halves of surrogate pairs, Python by characters. */
function byCodePoint(one, other) {
  const [a, b] = [Array.from(one), Array.from(other)];
  const place = a.findIndex((letter, index) => letter !== b[index]);
  if (place < 0) return a.length - b.length;
  return place >= b.length ? 1 : a[place].codePointAt(0) - b[place].codePointAt(0);
}
