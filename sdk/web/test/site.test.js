// The site that `app web` writes, in a real browser: `make test-web` writes it, and says in COMPAT_SITE where.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { serve } from "./server.js";

const FOLDER = process.env.COMPAT_SITE;
const options = { skip: FOLDER ? false : "COMPAT_SITE is not set; run: make test-web" };
const answers = FOLDER && JSON.parse(readFileSync(`${FOLDER}/answers.json`, "utf8"));
let [browser, host, context, page, said] = [];

before(async () => {
  if (!FOLDER) return;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
  });
  host = await serve(`${FOLDER}/site`);
});
after(async () => {
  await browser?.close();
  await host?.close();
});
/** A visitor who was never here, for one test. */
async function visit(t) {
  Object.assign(host, { flip: null, asked: [], instead: {} });
  context = await browser.newContext({ permissions: ["camera"] });
  t.after(() => context.close());
  page = await context.newPage();
  page.setDefaultTimeout(180_000); // of a machine that is busy
  said = [];
  page.on("filechooser", () => {}); // so that choosers are caught from now on
  page.on("console", (message) => message.type() === "error" && said.push(message.text()));
  page.on("pageerror", (error) => said.push(`${error}`));
}

const ready = () => page.waitForFunction(() => document.querySelector("#status").textContent.startsWith("Ready"));

const clear = () => page.evaluate(() => document.querySelector("#hits").replaceChildren());

async function ask(name) {
  await clear();
  await page.setInputFiles("#file", `${FOLDER}/pictures/${name}`);
  await page.waitForSelector("#hits li");
  return page.$$eval("#hits li", (items) =>
    items.map((item) => ({ id: item.dataset.id, label: item.querySelector("b").textContent, score: Number(item.querySelector("span").textContent.split("score ")[1]) })),
  );
}

function assertHits(found, expected) {
  assert.deepEqual(found.map(({ id, label }) => [id, label]), expected.map(({ id, label }) => [id, label]));
  found.forEach(({ score }, at) => assert.ok(Math.abs(score - expected[at].score) < 0.002, `${score} ${expected[at].score}`));
}

test("a picture is embedded on the device and finds what Python finds, and nothing comes from elsewhere", options, async (t) => {
  await visit(t);
  const elsewhere = [];
  page.on("request", (request) => /^blob:/.test(request.url()) || request.url().startsWith(host.url) || elsewhere.push(request.url()));
  await page.goto(host.url);
  await ready();
  for (const name of Object.keys(answers)) assertHits(await ask(name), answers[name]);
  const loaded = await page.$$eval("#hits img", (images) => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth > 0))));
  assert.ok(loaded.length === answers["00.jpg"].length && loaded.every(Boolean));
  for (const figure of ["decode", "resize", "embed", "search"]) assert.match(await page.textContent(`#figure-${figure}`), /^\d+\.\d ms$/);
  assert.match(await page.textContent("#figure-cost-of-a-query"), /MMACs/);
  const test = await page.waitForSelector("#figure-self-test-worst-cosine", { state: "attached" });
  assert.match(await test.textContent(), /^(1\.0000|0\.9999)/);
  await engineSays(/^WebAssembly.*; this browser has no WebGPU$/);
  assert.deepEqual(host.asked.filter((path) => /webgpu|asyncify/.test(path)), []);
  assert.equal(await page.textContent("#figure-search-by"), "WebAssembly with SIMD");
  assert.equal(await page.isVisible("#problem"), false);
  assert.deepEqual([elsewhere, said], [[], []]);

  await t.test("by the keyboard alone", async () => {
    await page.focus("body");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "choose");
    await clear();
    const chooser = page.waitForEvent("filechooser");
    await page.keyboard.press("Enter");
    await (await chooser).setFiles(`${FOLDER}/pictures/03.jpg`);
    await page.waitForSelector("#hits li");
  });

  for (const kind of ["paste", "drop"])
    await t.test(`by ${kind}`, async () => {
      await clear();
      const bytes = readFileSync(`${FOLDER}/pictures/05.png`).toString("base64");
      await page.evaluate(
        ([kind, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], "a.png", { type: "image/png" }));
          const [Kind, name] = kind === "paste" ? [ClipboardEvent, "clipboardData"] : [DragEvent, "dataTransfer"];
          window.dispatchEvent(new Kind(kind, { [name]: data, bubbles: true, cancelable: true }));
        },
        [kind, bytes],
      );
      await page.waitForSelector("#hits li");
      assert.equal(await page.$eval("#hits li", (item) => item.dataset.id), answers["05.png"][0].id);
    });

  await t.test("by the camera", async () => {
    await clear();
    await page.click("#camera");
    await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0);
    await page.click("#shoot");
    await page.waitForSelector("#hits li");
    assert.equal(await page.evaluate(() => document.querySelector("#viewfinder").open), false);
  });

  await t.test("a file that is no picture is told as that", async () => {
    await page.setInputFiles("#file", { name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no picture") });
    await page.waitForSelector("#problem:not([hidden])");
    assert.match(await page.textContent("#problem"), /^ImageError: cannot read image notes\.jpg/);
  });

  await t.test("the policy lets no other script in", async () => {
    const ran = await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
      return window.ran ?? false;
    });
    assert.equal(ran, false);
  });
});

const engineSays = (pattern) => page.waitForFunction((text) => new RegExp(text).test(document.querySelector("#figure-engine")?.textContent), pattern.source);

/** An engine in the place of WebGPU's: WebAssembly's, whose vectors are turned as `turned` says. */
const engine = (turned) => `
  import * as wasm from "./ort.wasm.min.mjs";
  export const { Tensor } = wasm;
  export const env = { wasm: {} };
  export const InferenceSession = {
    async create(graph, { executionProviders: [name] }) {
      if (name !== "webgpu") throw new Error(name);
      const session = await wasm.InferenceSession.create(graph, { executionProviders: ["wasm"] });
      return {
        async run(...given) {
          const found = await session.run(...given);
          const [{ data }] = Object.values(found);
          ${turned}
          return found;
        },
      };
    },
  };`;

async function visitWithWebGpu(t, turned) {
  await visit(t);
  host.instead["/ort/ort.webgpu.min.mjs"] = engine(turned);
  await page.addInitScript(() => Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => ({}) } }));
  await page.goto(host.url);
  await ready();
}

test("WebGPU answers once its golden vectors agree; where it gives up WebAssembly goes on, and the panel says so", options, async (t) => {
  await visitWithWebGpu(t, 'if (globalThis.lost) throw new Error("the device was lost");');
  await engineSays(/^WebGPU, whose golden vectors agree$/);
  assertHits(await ask("00.jpg"), answers["00.jpg"]);
  assert.match(await page.textContent("#figure-engine"), /^WebGPU/);
  await page.evaluate(() => (globalThis.lost = true));
  assertHits(await ask("03.jpg"), answers["03.jpg"]);
  assert.match(await page.textContent("#figure-engine"), /^WebAssembly.*; WebGPU gave up: .*the device was lost$/);
  assert.equal(await page.isVisible("#problem"), false);
});

test("a WebGPU that embeds otherwise is not used, and the panel says so", options, async (t) => {
  await visitWithWebGpu(t, "data.reverse();");
  await engineSays(/^WebAssembly.*; WebGPU is not used: webgpu turns golden row/);
  assertHits(await ask("00.jpg"), answers["00.jpg"]);
});

test("with the network gone it loads and searches again, with pictures and with threads", options, async (t) => {
  await visit(t);
  await page.goto(host.url);
  await ready();
  await page.waitForSelector("#figure-offline", { state: "attached" });
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  const online = await ask("00.jpg");
  await page.$$eval("#hits img", (images) => Promise.all(images.map((image) => image.decode())));
  await host.close();
  await context.setOffline(true);
  await page.reload();
  await ready();
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
  assert.deepEqual(await ask("00.jpg"), online);
  await page.$$eval("#hits img", (images) => Promise.all(images.map((image) => image.decode())));
  host = await serve(`${FOLDER}/site`);
});

test("one flipped byte of any file is refused, and nothing can be searched", options, async (t) => {
  await visit(t);
  const files = { "bundle/manifest.json": "BundleError", "embeddings.npy": "BundleError", "gallery.json": "GalleryError", "/model.onnx": "BundleError" };
  for (const [file, kind] of Object.entries(files)) {
    host.flip = file;
    await page.goto(host.url);
    await page.waitForSelector("#problem:not([hidden])");
    assert.match(await page.textContent("#problem"), new RegExp(`^${kind}: `), file);
    assert.equal(await page.isDisabled("#choose"), true);
    await page.setInputFiles("#file", `${FOLDER}/pictures/00.jpg`);
    assert.equal(await page.$("#hits li"), null);
  }
  host.flip = null; // once it is whole again, nothing of the damage was kept
  await page.goto(host.url);
  await ready();
});

test("a browser that lacks something is told what, and nothing is fetched for it", options, async (t) => {
  await visit(t);
  await page.addInitScript(() => delete globalThis.OffscreenCanvas);
  await page.goto(host.url);
  await page.waitForSelector("#problem:not([hidden])");
  assert.match(await page.textContent("#problem"), /lacks OffscreenCanvas/);
  assert.ok(!host.asked.some((path) => path.endsWith(".onnx") || path.endsWith(".npy")));
});
