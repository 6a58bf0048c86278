// SHA-256 by the platform, and what is compared with it before anything else reads a file.

import { MissingExtraError } from "./errors.js";
import { canonicalJson } from "./json.js";

/** SHA-256 of bytes, as 64 hexadecimal digits. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle)
    throw new MissingExtraError("this page may not use WebCrypto, which checks every file; serve it by https, or from localhost");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** SHA-256 of a document's canonical JSON without its `digest`. */
export function sealOf({ digest: _, ...body }) {
  return sha256(new TextEncoder().encode(canonicalJson(body)));
}

/** How a file differs from its record `{sha256, bytes}`, or null. */
export async function fileProblem(bytes, record) {
  if (bytes === undefined) return "is missing";
  if (bytes.length !== record.bytes) return `has ${bytes.length} bytes, expected ${record.bytes}`;
  const found = await sha256(bytes);
  return found === record.sha256 ? null : `has SHA-256 ${found}, expected ${record.sha256}`;
}
