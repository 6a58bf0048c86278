// What a bundle says about its model, checked as compat_sdk/bundle/manifest.py does.

import { BundleError, ConfigError, shown } from "./errors.js";
import { sealOf } from "./digest.js";
import { checkCount, checkSha256, expect, fields, isInteger, numberOf } from "./fields.js";
import { Float, isObject, plainJson } from "./json.js";
import { checkFileName, checkFileNames } from "./names.js";
import { insideGraph, readPreprocessing } from "./preprocessing.js";
import { checkSpace, coversAll } from "./space.js";

const SINCE_3 = ["identity", "certificates", "release", "expires"];
const FIELDS = [
  ...["format", "version", "digest", "name", "role", "space", "searches", "dim", "preprocessing", "tier", "mmacs", "mmacs_paper"],
  ...["params_m", "license", "arch", "graphs", "created_by", "files", "source", ...SINCE_3],
];
const WORD = /^[A-Za-z0-9._-]{1,120}$/;
const PRINTABLE = /^(?: |[^\p{C}\p{Z}])+$/u;
const RULES = ["M(q,g) > M(q,q)", "M(new,old) > M(old,old)"];

const isText = (value, most) => typeof value === "string" && PRINTABLE.test(value) && Array.from(value).length <= most;
const isDay = (value) => {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(value) ?? [];
  const date = new Date(`${year}-${month}-${day}T00:00:00Z`);
  return Number(year) > 0 && !Number.isNaN(date.getTime()) && date.toISOString().startsWith(value);
};

/**
 * The manifest of a parsed manifest.json.
 *
 * @throws BundleError Another format or version, a digest that does not match, a field that is missing, unknown or out of its range.
 */
export async function readManifest(value) {
  try {
    expect(value.format === "compat-sdk-bundle", "format", value.format, "compat-sdk-bundle");
    expect([2, 3].includes(value.version), "version", value.version, "2 or 3; upgrade compat-sdk or export the model again");
    expect(value.digest === (await sealOf(value)), "digest", value.digest, "that of the content: it was changed after it was written");
    fields(value, "manifest.json", FIELDS.filter((name) => value.version === 3 || !SINCE_3.includes(name)));
    const found = { ...value, preprocessing: value.preprocessing === null ? null : readPreprocessing(value.preprocessing) };
    if (value.version === 2) Object.assign(found, { identity: null, certificates: [], release: 1, expires: null });
    checkValues(found);
    checkFiles(found.files);
    found.graphs = found.graphs.map((graph) => readGraph(graph, found));
    checkRole(found);
    await checkIdentity(found);
    for (const certificate of found.certificates) await checkCertificate(certificate, found);
    const evaluations = new Set(found.certificates.map((one) => `${one.gallery_space} ${one.data_sha256}`));
    expect(evaluations.size === found.certificates.length, "certificates", evaluations.size, "one of each gallery space and data");
    const pictures = Object.keys(found.files).some((name) => name.startsWith("golden/pictures/"));
    const promised = found.version === 3 && found.role !== "transform";
    expect(pictures || !promised, "files", "no picture", "golden pictures");
    return Object.freeze(plainJson(found));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new BundleError(`manifest.json is malformed: ${error.message}`, { cause: error });
  }
}

function checkValues(of) {
  expect(isText(of.name, 120), "name", of.name, "1 to 120 printable characters");
  expect(typeof of.tier === "string" && WORD.test(of.tier), "tier", of.tier, "a word");
  expect(["query", "gallery", "side-info", "transform"].includes(of.role), "role", of.role, "query, gallery, side-info or transform");
  expect(Array.isArray(of.searches), "searches", of.searches, "a list of spaces");
  [of.space, ...of.searches].forEach(checkSpace);
  expect(isInteger(of.dim, 1, 65536), "dim", of.dim, "an integer from 1 to 65536");
  for (const name of ["mmacs", "mmacs_paper", "params_m"]) expect(numberOf(of[name]) >= 0, name, of[name], "a number of at least 0");
  for (const name of ["license", "arch", "created_by"]) expect(typeof of[name] === "string", name, of[name], "text");
  expect(isInteger(of.release, 1, 2 ** 31 - 1), "release", of.release, "an integer of at least 1");
  expect(of.expires === null || isDay(of.expires), "expires", of.expires, "a day such as 2027-12-31, or none");
  expect(Array.isArray(of.graphs) && of.graphs.length > 0, "graphs", of.graphs, "at least one exported form of the model");
  expect(Array.isArray(of.certificates), "certificates", of.certificates, "a list");
  expect(isObject(of.files), "files", of.files, "records by name");
}

function checkFiles(files) {
  checkFileNames(Object.keys(files));
  for (const [name, record] of Object.entries(files)) {
    fields(record, `files.${name}`, ["sha256", "bytes"]);
    checkSha256(record.sha256, name);
    checkCount(record.bytes, name);
  }
}

function readGraph(value, of) {
  fields(value, "a graph", ["target", "precision", "file", "inputs"], ["output", "batch", "layout", "values", "min_cosine"]);
  const graph = { output: "embedding", batch: null, layout: "nchw", values: "prepared", min_cosine: null, ...value };
  for (const name of ["target", "precision"]) expect(typeof graph[name] === "string" && WORD.test(graph[name]), name, graph[name], "a word");
  checkFileName(graph.file);
  const { inputs } = graph;
  expect(Array.isArray(inputs) && inputs.length > 0 && new Set(inputs).size === inputs.length, "inputs", inputs, "names, each once");
  for (const name of [...inputs, graph.output]) expect(typeof name === "string" && name, "an input or output", name, "a name");
  expect(graph.batch === null || isInteger(graph.batch, 1, 1024), "batch", graph.batch, "1 to 1024, or none");
  expect(["nchw", "nhwc"].includes(graph.layout), "layout", graph.layout, "nchw or nhwc");
  expect(["prepared", "pixels"].includes(graph.values), "values", graph.values, "prepared or pixels");
  const least = graph.min_cosine;
  expect(least === null || (least instanceof Float && Math.abs(least.value) <= 1), "min_cosine", least, "-1 to 1, or none");
  const there = Object.keys(of.files).some((name) => name === graph.file || name.startsWith(`${graph.file}/`));
  expect(there, "a graph's file", graph.file, "one of the bundle's files");
  return graph;
}

/** A transform embeds no image: it is refused for that, and not looked into. */
function checkRole(of) {
  const searching = ["query", "gallery"].includes(of.role);
  expect(searching || of.searches.length === 0, "searches", of.searches, `none of a ${of.role} model`);
  if (of.role === "transform") return expect(isObject(of.source) && of.preprocessing === null, "source", of.source, "that of a transform");
  expect(of.source === null && of.preprocessing !== null, "source", of.source, "preprocessing and no source");
  for (const { inputs } of of.graphs) expect(inputs.length === 1, "inputs", inputs, "one, the image");
}

async function checkIdentity(of) {
  const own = of.identity;
  const spaces = [of.space, ...of.searches];
  if (of.version === 2) expect(!spaces.some(coversAll), "a space of version 2", spaces, "a name as 0.7 gave them");
  if (of.role === "transform") return; // it takes no images, and is refused for that
  if (own === null) return expect(!coversAll(of.space), "identity", own, `that of which space ${of.space} is the digest`);
  fields(own, "identity", ["weights", "arch", "dim", "preprocessing", "network", "output"]);
  checkSha256(own.weights, "identity.weights");
  expect(typeof own.output === "string" && own.output, "identity.output", own.output, "text");
  expect(own.arch === of.arch && own.arch && own.dim === of.dim, "identity", [own.arch, own.dim], `${of.arch} of ${of.dim}`);
  expect(isObject(own.network), "identity.network", own.network, "settings by name");
  for (const [name, value] of Object.entries(own.network))
    expect(typeof value === "string" || !Number.isNaN(numberOf(value)), `network.${shown(name)}`, value, "a finite number or text");
  const preprocessing = readPreprocessing(own.preprocessing, "identity.preprocessing");
  const left = of.graphs.map(({ values }) => JSON.stringify(values === "pixels" ? insideGraph(preprocessing) : preprocessing));
  const stated = JSON.stringify(of.preprocessing);
  expect(left.every((one) => one === stated), "preprocessing", of.preprocessing, "what the identity and the graphs leave to a client");
  const { crop, mean, std, ...rest } = preprocessing;
  const floats = { ...rest, mean: mean.map((one) => new Float(one)), std: std.map((one) => new Float(one)) };
  if (crop !== 1) floats.crop = new Float(crop);
  const digest = await sealOf({ ...own, preprocessing: floats, format: "compat-sdk-space", version: 1 });
  const space = `${own.arch.split(":")[0]}-${own.dim}-${digest.slice(0, 16)}`;
  expect(space === of.space, "space", of.space, `${space}: weights, network or preprocessing was changed after it was named`);
}

async function checkCertificate(value, of) {
  const counts = { queries: 1, skipped: 0, gallery_size: 1 };
  const accuracies = ["query_query", "query_gallery", "gallery_gallery"];
  const texts = ["query_space", "gallery_space", "data", "data_sha256", "splits", "created_by"];
  fields(value, "a certificate", [...texts, ...Object.keys(counts), ...accuracies, "format", "version", "rule_holds", "digest"], ["rule"]);
  expect(value.format === "compat-sdk-certificate" && value.version === 1, "a certificate", value.version, "version 1");
  expect(value.digest === (await sealOf(value)), "a certificate's digest", value.digest, "that of its content");
  expect(value.query_space === of.space && of.searches.includes(value.gallery_space), "a certificate", value.gallery_space, "of this model");
  expect(value.query_space !== value.gallery_space, "a certificate's spaces", value.query_space, "two");
  checkSha256(value.data_sha256, "data_sha256");
  for (const name of ["data", "created_by"]) expect(isText(value[name], 200), name, value[name], "1 to 200 printable characters");
  const { splits, rule = RULES[0] } = value;
  expect(Array.isArray(splits) && splits.length === 2 && splits.every((one) => isText(one, 40)), "splits", splits, "two names");
  for (const [name, low] of Object.entries(counts)) checkCount(value[name], name, low);
  expect(RULES.includes(rule), "rule", rule, RULES.join(" or "));
  for (const name of accuracies) {
    fields(value[name], name, ["top1", "top5", "top10", "map"]);
    for (const one of Object.values(value[name])) expect(numberOf(one) >= 0 && numberOf(one) <= 1, name, one, "fractions from 0 to 1");
  }
  const alone = rule === RULES[0] ? value.query_query : value.gallery_gallery;
  const holds = numberOf(value.query_gallery.top1) > numberOf(alone.top1);
  expect(value.rule_holds === holds, "rule_holds", value.rule_holds, `${holds}, as the figures say`);
}

/** Refuse a bundle after its last day, by this device's clock in UTC. */
export function requireCurrent(manifest, path) {
  const today = new Date().toISOString().slice(0, 10);
  if (manifest.expires !== null && today > manifest.expires)
    throw new BundleError(`${path} was meant to be used until ${manifest.expires}, and by this clock it is ${today}; get a newer release`);
}
