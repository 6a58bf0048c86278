// The site that `app web` writes, in a real browser: `make test-web` writes it, and says in COMPAT_SITE where.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, afterEach, test } from "node:test";

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
beforeEach(async () => {
  if (!FOLDER) return;
  Object.assign(host, { flip: null, asked: [] });
  context = await browser.newContext({ permissions: ["camera"] });
  page = await context.newPage();
  said = [];
  page.on("console", (message) => message.type() === "error" && said.push(message.text()));
  page.on("pageerror", (error) => said.push(`${error}`));
});
afterEach(() => context?.close());

const ready = () => page.waitForFunction(() => document.querySelector("#status").textContent.startsWith("Ready"));

async function ask(name) {
  await page.evaluate(() => document.querySelector("#hits").replaceChildren());
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

test("a picture is embedded on the device and finds what Python finds", options, async () => {
  await page.goto(host.url);
  await ready();
  for (const name of Object.keys(answers)) assertHits(await ask(name), answers[name]);
  const loaded = await page.$$eval("#hits img", (images) => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth > 0))));
  assert.ok(loaded.length === answers["00.jpg"].length && loaded.every(Boolean));
  for (const figure of ["decode", "resize", "embed", "search"]) assert.match(await page.textContent(`#figure-${figure}`), /^\d+\.\d ms$/);
  assert.match(await page.textContent("#figure-cost-of-a-query"), /MMACs/);
  assert.match(await page.waitForSelector("#figure-self-test-worst-cosine", { state: "attached" }).then((said) => said.textContent()), /^(1\.0000|0\.9999)/);
  assert.deepEqual(said, []);
  assert.equal(await page.isVisible("#problem"), false);
});

test("with the network gone it loads and searches again, with pictures and with threads", options, async () => {
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

for (const [what, file, kind] of [["graph", "model.onnx", "BundleError"], ["manifest", "bundle/manifest.json", "BundleError"],
  ["vectors", ".npy", "BundleError"], ["gallery's state", "gallery.json", "GalleryError"]])
  test(`one flipped byte of the ${what} is refused, and nothing can be searched`, options, async () => {
    host.flip = file;
    await page.goto(host.url);
    await page.waitForSelector("#problem:not([hidden])");
    assert.match(await page.textContent("#problem"), new RegExp(`^${kind}: `));
    assert.equal(await page.isDisabled("#choose"), true);
    await page.setInputFiles("#file", `${FOLDER}/pictures/00.jpg`);
    assert.equal(await page.$("#hits li"), null);
    host.flip = null; // once it is whole again, nothing of the damage was kept
    await page.reload();
    await ready();
  });

test("nothing comes from elsewhere, and the policy lets no script in", options, async () => {
  const elsewhere = [];
  page.on("request", (request) => request.url().startsWith(host.url) || request.url().startsWith("blob:") || elsewhere.push(request.url()));
  await page.goto(host.url);
  await ready();
  await ask("05.png");
  assert.deepEqual(elsewhere, []);
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    return window.ran ?? false;
  });
  assert.equal(ran, false);
});

test("keyboard, paste and drop ask as a file does, and a file that is no picture is told as that", options, async () => {
  await page.goto(host.url);
  await ready();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "choose");
  const chooser = page.waitForEvent("filechooser");
  await page.keyboard.press("Enter");
  await (await chooser).setFiles(`${FOLDER}/pictures/03.jpg`);
  await page.waitForSelector("#hits li");
  const bytes = readFileSync(`${FOLDER}/pictures/05.png`).toString("base64");
  for (const kind of ["paste", "drop"]) {
    await page.evaluate(() => document.querySelector("#hits").replaceChildren());
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
  }
  await page.setInputFiles("#file", { name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no picture") });
  await page.waitForSelector("#problem:not([hidden])");
  assert.match(await page.textContent("#problem"), /^ImageError: cannot read image notes\.jpg/);
});

test("the camera's picture is searched", options, async () => {
  await page.goto(host.url);
  await ready();
  await page.click("#camera");
  await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0);
  await page.click("#shoot");
  await page.waitForSelector("#hits li");
  assert.equal(await page.evaluate(() => document.querySelector("#viewfinder").open), false);
});

test("a browser that lacks something is told what, and nothing is fetched for it", options, async () => {
  await page.addInitScript(() => delete globalThis.OffscreenCanvas);
  await page.goto(host.url);
  await page.waitForSelector("#problem:not([hidden])");
  assert.match(await page.textContent("#problem"), /lacks OffscreenCanvas/);
  assert.ok(!host.asked.some((path) => path.endsWith(".onnx") || path.endsWith(".npy")));
});
