// The cases of sdk/conformance, which every runtime passes; its README.md says what they mean.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as sdk from "../src/index.js";
import { Embedder } from "../src/embedder.js";
import { readNpy } from "../src/npy.js";
import { without } from "./without.js";

const ROOT = new URL("../../conformance/", import.meta.url);
const bytes = (name) => new Uint8Array(readFileSync(new URL(name, ROOT)));
const cases = (kind) => JSON.parse(readFileSync(new URL(`${kind}.json`, ROOT), "utf8")).cases;
const array = (name) => readNpy(bytes(name), name);
const filesOf = (case_) => new Map(Object.entries(case_.files).map(([name, file]) => [name, bytes(file)]));

/** What a step gives, or, of a case that is refused, nothing: it raises exactly the error of this name. */
async function expecting(case_, step) {
  if (!case_.error) return step();
  await assert.rejects(async () => step(), (error) => error.name === case_.error && error.message.length < 400 || assert.fail(error));
}

function near(found, expected, bound) {
  assert.equal(found.length, expected.length);
  found.forEach((one, at) => assert.ok(Math.abs(one - expected[at]) <= bound * Math.max(1, Math.abs(expected[at])), `${at}: ${one} ${expected[at]}`));
}

const pictureOf = ({ shape, data }) => ({ data, width: shape[1], height: shape[0] });

for (const case_ of cases("bundles"))
  test(`bundles: ${case_.name}`, async () => {
    const bundle = await expecting(case_, () => sdk.openBundle(case_.zip ? bytes(case_.zip) : filesOf(case_)));
    if (!case_.opens) return;
    const { digest, files, preprocessing, graphs, ...rest } = case_.opens;
    assert.equal(bundle.digest, digest);
    assert.deepEqual(Object.keys(bundle.manifest.files).sort(), files);
    assert.deepEqual(bundle.manifest.preprocessing, { crop: 1, ...preprocessing });
    assert.deepEqual(bundle.manifest.graphs.map((graph) => ({ ...graph })), graphs);
    for (const [name, value] of Object.entries(rest)) assert.deepEqual(bundle.manifest[name], value, name);
  });

for (const case_ of cases("spaces"))
  test(`spaces: ${case_.name}`, () =>
    expecting(case_, () => sdk.requireCompatible(new sdk.Embeddings(Float32Array.of(1), 1, case_.space, case_.searches), case_.gallery_space)));

for (const case_ of cases("preprocessing"))
  test(`preprocessing: ${case_.name}`, async () => {
    const pixels = await expecting(case_, () => sdk.toPixels(pictureOf(array(case_.pixels)), sdk.readPreprocessing(case_.preprocessing)));
    if (!case_.resized) return;
    const resized = array(case_.resized).data;
    const off = pixels.reduce((most, one, at) => Math.max(most, Math.abs(one - resized[at])), 0);
    assert.ok(pixels.length === resized.length && off <= 1, `${off} levels`);
    near(sdk.toInput(resized, sdk.readPreprocessing(case_.preprocessing), case_), array(case_.input).data, 1e-6);
  });

for (const case_ of cases("embeddings"))
  test(`embeddings: ${case_.name}`, async () => {
    const bundle = await sdk.openBundle(filesOf(case_));
    const { shape, data } = array(case_.output);
    const run = async (name, input, dims) => {
      assert.deepEqual([name, ...dims], ["image", ...array(case_.input).shape]);
      near(input, array(case_.input).data, 0.02);
      return { data, dims: shape };
    };
    const embedder = new Embedder(bundle, bundle.graph("onnx"), run, "recorded");
    const found = await expecting(case_, () => embedder.embed(pictureOf(array(case_.pixels))));
    if (case_.embedding) near(found.vectors, array(case_.embedding).data, 1e-6);
  });

for (const case_ of cases("galleries"))
  test(`galleries: ${case_.name}`, async () => {
    const gallery = await expecting(case_, () => sdk.openGallery(filesOf(case_)));
    if (!case_.opens) return;
    const { rows, ...told } = case_.opens;
    assert.equal(gallery.length, rows);
    for (const [name, value] of Object.entries(told)) assert.deepEqual(JSON.parse(JSON.stringify(gallery[name], number)), value, name);
    // Once by the kernel and once in JavaScript alone.
    for (const opened of [gallery, await without(() => sdk.openGallery(filesOf(case_)))])
      for (const search of case_.searches) {
        const queries = array(search.queries);
        const hits = await expecting(search, () => opened.search(new sdk.Embeddings(queries.data, queries.shape[1], search.space, search.searches), search.k));
        if (!search.hits) continue;
        const names = (lines) => lines.map((line) => line.map(({ id, label }) => [id, label]));
        assert.deepEqual(names(hits), names(search.hits));
        near(hits.flat().map((hit) => hit.score), search.hits.flat().map((hit) => hit.score), 1e-6);
      }
  });

const number = (key, value) => (typeof value === "bigint" ? Number(value) : value);
