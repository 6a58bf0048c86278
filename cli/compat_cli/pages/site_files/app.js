// The page: a picture in, hits out. What embeds and searches is ./compat-sdk, the runtime, unchanged.

const $ = (id) => document.getElementById(id);
const busy = { loading: true, asked: 0 };
const parts = {};

/** What this page needs of a browser, and whether it is there. */
function missing() {
  const needs = {
    "WebAssembly": typeof WebAssembly === "object",
    "WebCrypto (the page must come by https, or from localhost)": Boolean(globalThis.crypto?.subtle),
    "createImageBitmap": typeof createImageBitmap === "function",
    "OffscreenCanvas": typeof OffscreenCanvas === "function",
    "workers": typeof Worker === "function",
  };
  return Object.keys(needs).filter((name) => !needs[name]);
}

function fail(error) {
  $("problem").textContent = error.name && error.message ? `${error.name}: ${error.message}` : `${error}`;
  $("problem").hidden = false;
  $("progress").hidden = true;
}

async function start() {
  const lacking = missing();
  if (lacking.length) {
    $("status").textContent = "This browser cannot search here.";
    return fail(new Error(`It lacks ${lacking.join(", ")}. A current Chrome, Edge, Firefox or Safari has all of it.`));
  }
  try {
    const [site, sdk, ort] = await Promise.all([
      fetch("site.json").then((answer) => answer.json()),
      import("./compat-sdk/index.js"),
      import("./ort/ort.wasm.min.mjs"),
    ]);
    document.title = $("title").textContent = site.title;
    ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
    ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency ?? 1) : 1;
    const seen = new Map();
    const onProgress = (url, done, total) => {
      seen.set(url, [done, total]);
      const [sum, of] = [...seen.values()].reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
      $("progress").value = of ? sum / of : 0;
    };
    const [bundle, gallery] = await Promise.all([sdk.openBundle("bundle/", { onProgress }), sdk.openGallery("gallery/", { onProgress })]);
    const embedder = await bundle.embedder(ort, { precision: site.precision });
    sdk.requireCompatible(embedder, gallery.space);
    Object.assign(parts, { site, sdk, ort, bundle, gallery, embedder, rows: new Map(gallery.ids.map((id, row) => [id, row])) });
    Object.assign(parts, { without: new Set(site.without), plain: embedder });
    ready();
    await embedder
      .selfTest()
      .then((test) => figure("self-test, worst cosine", `${test.min_cosine.toFixed(6)} of ${test.rows}`))
      .catch((error) => fail(new Error(`${error.message}. Hits may be worse here than they should be.`)));
    await toWebGpu();
  } catch (error) {
    $("status").textContent = "Nothing can be searched.";
    fail(error);
    // What was kept may be what is damaged: the next visit fetches all of it anew.
    for (const name of (await globalThis.caches?.keys()) ?? []) if (name.startsWith("compat-sdk-site-")) await caches.delete(name);
    for (const worker of (await navigator.serviceWorker?.getRegistrations()) ?? []) await worker.unregister();
  }
}

function ready() {
  const { gallery, bundle } = parts;
  busy.loading = false;
  $("progress").hidden = true;
  $("choose").disabled = $("camera").disabled = false;
  $("status").textContent = `Ready: ${gallery.length.toLocaleString()} pictures.`;
  figure("pictures", gallery.length.toLocaleString());
  figure("vectors", `${gallery.dim} × ${gallery.dtype}`);
  figure("query model", bundle.manifest.name);
  figure("cost of a query", `${bundle.manifest.mmacs.toLocaleString()} MMACs`);
  figure("search by", { simd: "WebAssembly with SIMD", plain: "JavaScript: no WebAssembly with SIMD here" }[gallery.scoring]);
  onWebAssembly();
  navigator.serviceWorker?.register("sw.js").then(
    () => navigator.serviceWorker.ready.then(() => figure("offline", "kept on this device")),
    (error) => figure("offline", `not kept: ${error.message}`),
  );
}

function onWebAssembly(why = "") {
  const { numThreads } = parts.ort.env.wasm;
  figure("engine", `WebAssembly, ${numThreads} thread${numThreads > 1 ? "s" : ""}${why && `; ${why}`}`);
  parts.embedder = parts.plain;
}

/** Go over to WebGPU where there is one, once it turns the golden images into the trained model's vectors; else say why not. */
async function toWebGpu() {
  const { site, bundle } = parts;
  if (!site.webgpu) return;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return onWebAssembly("this browser has no WebGPU");
  try {
    const ort = await import("./ort/ort.webgpu.min.mjs");
    ort.env.wasm.wasmPaths = parts.ort.env.wasm.wasmPaths;
    ort.env.wasm.numThreads = 1;
    parts.embedder = await bundle.embedder(ort, { precision: site.precision, engine: "webgpu" });
    figure("engine", "WebGPU, whose golden vectors agree");
  } catch (error) {
    onWebAssembly(`WebGPU is not used: ${error.message}`);
  }
}

/** The query's vector; from WebAssembly where WebGPU gives up, such as after its device was lost. */
async function embed(pixels) {
  try {
    return await parts.embedder.embedPixels([pixels]);
  } catch (error) {
    if (parts.embedder === parts.plain) throw error;
    onWebAssembly(`WebGPU gave up: ${error.message}`);
    return embed(pixels);
  }
}

function figure(name, value) {
  const key = `figure-${name.replaceAll(/\W+/g, "-")}`;
  if (!$(key)) {
    const [term, said] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    said.id = key;
    $("numbers").append(term, said);
  }
  $(key).textContent = value;
}

/** Search with one picture; of two that come fast the later one counts. */
async function ask(file) {
  if (busy.loading || !file) return;
  const turn = (busy.asked += 1);
  const { sdk, gallery, site } = parts;
  $("problem").hidden = true;
  $("status").textContent = "Searching…";
  show(file);
  try {
    const times = [performance.now()];
    const step = (value) => (times.push(performance.now()), value);
    const picture = step(await sdk.decode(file));
    const pixels = step(sdk.toPixels(picture, parts.plain.preprocessing));
    const query = step(await embed(pixels));
    const [hits] = step(await gallery.search(query, site.k));
    if (turn !== busy.asked) return;
    ["decode", "resize", "embed", "search"].forEach((name, at) => figure(name, `${(times[at + 1] - times[at]).toFixed(1)} ms`));
    list(hits);
    const best = hits[0] ? ` Best: ${hits[0].label || hits[0].id}, ${hits[0].score.toFixed(3)}.` : "";
    $("status").textContent = `${hits.length} hits in ${(times[4] - times[0]).toFixed(0)} ms.${best}`;
  } catch (error) {
    if (turn !== busy.asked) return;
    $("status").textContent = "This picture was not searched.";
    fail(error);
  }
}

function show(file) {
  URL.revokeObjectURL($("query").src);
  $("query").src = URL.createObjectURL(file);
  $("query").alt = "Your picture";
  $("query").hidden = false;
  $("hint").textContent = "Drop or paste another one to search again.";
}

function list(hits) {
  $("none").hidden = hits.length > 0;
  $("none").textContent = "The gallery is empty.";
  $("hits").replaceChildren(
    ...hits.map((hit, rank) => {
      const [item, frame, caption] = ["li", "figure", "figcaption"].map((name) => document.createElement(name));
      const [name, score] = ["b", "span"].map((tag) => document.createElement(tag));
      name.textContent = hit.label || hit.id;
      score.textContent = `${rank + 1} · score ${hit.score.toFixed(3)}`;
      score.title = hit.id;
      caption.append(name, score);
      frame.append(pictureOf(hit), caption);
      item.append(frame);
      item.dataset.id = hit.id;
      return item;
    }),
  );
}

function pictureOf(hit) {
  const row = parts.rows.get(hit.id);
  const none = document.createElement("div");
  none.className = "none";
  none.textContent = "no picture";
  if (!parts.site.pictures || parts.without.has(row)) return none;
  const image = document.createElement("img");
  image.alt = hit.label ? `${hit.label} (${hit.id})` : hit.id;
  image.src = `pictures/${String(Math.floor(row / 1000)).padStart(4, "0")}/${String(row).padStart(7, "0")}.jpg`;
  image.addEventListener("error", () => image.replaceWith(none));
  return image;
}

/** A live camera where the browser has one, else the phone's own camera through the file input. */
async function takePicture() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    $("file").setAttribute("capture", "environment");
    $("file").click();
    $("file").removeAttribute("capture");
    return;
  }
  $("video").srcObject = stream;
  $("viewfinder").showModal();
  await $("video").play();
  const shot = () => {
    const { videoWidth: width, videoHeight: height } = $("video");
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage($("video"), 0, 0);
    canvas.toBlob((blob) => ask(blob), "image/png");
    $("viewfinder").close();
  };
  $("shoot").addEventListener("click", shot);
  $("viewfinder").addEventListener(
    "close",
    () => {
      $("shoot").removeEventListener("click", shot);
      stream.getTracks().forEach((track) => track.stop());
    },
    { once: true },
  );
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  ask($("file").files[0]);
  $("file").value = "";
});
$("camera").addEventListener("click", takePicture);
$("cancel").addEventListener("click", () => $("viewfinder").close());
addEventListener("paste", (event) => ask([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
for (const name of ["dragover", "dragleave", "drop"])
  addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") ask(event.dataTransfer.files[0]);
  });

start();
