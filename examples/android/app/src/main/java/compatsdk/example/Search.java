package compatsdk.example;

import android.content.Context;
import android.os.SystemClock;
import compatsdk.Bundle;
import compatsdk.Embedder;
import compatsdk.Embeddings;
import compatsdk.Engine;
import compatsdk.Gallery;
import compatsdk.Graph;
import compatsdk.Hit;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;

/** The model and the gallery of this app, verified, and what a search with one picture finds. Use it from one thread. */
final class Search {
    private static final int THREADS = 4;
    private static final int HITS = 20;

    private final Embedder embedder;
    private final Gallery gallery;

    /** What a search found, and how many milliseconds each of its parts took. */
    static final class Found {
        List<Hit> hits;
        long decodeMs;
        long embedMs;
        long searchMs;
    }

    /** Opens both; everything that a search uses is compared with its digest, and the model proves itself here. */
    Search(Context context) throws IOException {
        Path folder = Installed.folder(context);
        Bundle bundle = Bundle.open(folder.resolve("query.bundle"));
        gallery = Gallery.open(folder.resolve("photos.gallery"));
        embedder = embedder(bundle);
        embedder.selfTest(Photos::decode);
    }

    /** LiteRT where the bundle has a graph for it, else ONNX Runtime. */
    private static Embedder embedder(Bundle bundle) {
        boolean lite = bundle.manifest.graphs.stream().anyMatch(graph -> graph.target.equals("tflite"));
        Graph graph = bundle.graph(lite ? "tflite" : "onnx", null);
        byte[] content = bundle.read(graph.file);
        try {
            Engine engine = lite ? new LiteRtEngine(content, THREADS) : new OnnxRuntimeEngine(graph, content, THREADS);
            return new Embedder(bundle, graph, engine);
        } catch (IllegalStateException | IllegalArgumentException error) {
            throw new IllegalStateException("this device cannot run the model: " + error.getMessage(), error);
        }
    }

    /** How many pictures can be found. */
    int size() {
        return gallery.size();
    }

    /** The pictures of the gallery that are nearest to one, best first. */
    Found find(byte[] file) {
        Found found = new Found();
        long start = SystemClock.elapsedRealtime();
        byte[] pixels = Photos.pixels(file, embedder.bundle.manifest.preprocessing);
        long decoded = SystemClock.elapsedRealtime();
        Embeddings query = embedder.embedPixels(Collections.singletonList(pixels));
        long embedded = SystemClock.elapsedRealtime();
        found.hits = gallery.search(query, HITS).get(0);
        found.searchMs = SystemClock.elapsedRealtime() - embedded;
        found.embedMs = embedded - decoded;
        found.decodeMs = decoded - start;
        return found;
    }
}
