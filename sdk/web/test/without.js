// A platform that has no WebAssembly.

/** What `step` gives where there is none. */
export async function without(step) {
  const { WebAssembly } = globalThis;
  globalThis.WebAssembly = undefined;
  try {
    return await step();
  } finally {
    globalThis.WebAssembly = WebAssembly;
  }
}
