// Checks of what a document says, in the words of compat_sdk/fields.py.

import { ConfigError, shown } from "./errors.js";
import { Float, isObject } from "./json.js";

const SHA256 = /^[0-9a-f]{64}$/;

/** Refuse, unless `holds`. */
export function expect(holds, label, value, expected) {
  if (!holds) throw new ConfigError(`${label} is ${shown(value)}; expected ${expected}`);
}

/** The object, if it has all of `needed`, and no field that is neither there nor in `more`. */
export function fields(value, label, needed, more = []) {
  const given = isObject(value) ? Object.keys(value) : null;
  const fits = given && needed.every((name) => given.includes(name)) && given.every((name) => needed.includes(name) || more.includes(name));
  expect(fits, label, given ?? value, `exactly the fields ${needed}`);
  return value;
}

/** A number of parsed JSON, whether it was written as 1 or as 1.0; NaN for what is none. */
export const numberOf = (value) => (value instanceof Float ? value.value : ["number", "bigint"].includes(typeof value) ? Number(value) : NaN);

/** Whether a parsed value is an integer in a range; 1.0 is none. */
export const isInteger = (value, low, high) => Number.isSafeInteger(value) && value >= low && value <= high;

/** Refuse what is no SHA-256 as lower-case hexadecimal digits. */
export const checkSha256 = (value, label) => expect(typeof value === "string" && SHA256.test(value), label, value, "a SHA-256");

/** Refuse what counts nothing. */
export const checkCount = (value, label, low = 0) => expect(isInteger(value, low, Infinity), label, value, `an integer of at least ${low}`);
