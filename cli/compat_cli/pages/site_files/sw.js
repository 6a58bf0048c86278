// Keeps the site on the device: the version that was written, whole. VERSION and FILES stand above, put there by `app web`.

const CACHE = `compat-sdk-site-${VERSION}`;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  // The browser's own cache may still have another version's files: the host is asked, and sends again what is not the same.
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })))));
});

self.addEventListener("activate", (event) => {
  const old = (name) => name.startsWith("compat-sdk-site-") && name !== CACHE;
  event.waitUntil(
    caches.keys().then(async (names) => {
      await Promise.all(names.filter(old).map((name) => caches.delete(name)));
      await self.clients.claim();
    }),
  );
});

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(self.registration.scope)) event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const url = request.mode === "navigate" ? new URL("index.html", self.registration.scope).href : request.url;
  let found = await cache.match(url);
  if (!found) {
    found = await fetch(request);
    if (found.status === 200) await cache.put(url, found.clone()); // a picture: it was not among FILES
  }
  return isolated(found);
}

// With these two headers a browser lets a page have threads; few static hosts send them.
function isolated(response) {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
