package compatsdk;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.function.ThrowingSupplier;

/**
 * The cases of sdk/conformance, which every runtime passes; its README.md says what they mean.
 *
 * <p>The property {@code cases} names the folders of cases, so that tests/conformance can hand over random ones as well.
 */
class ConformanceTest {
    private interface Check {
        void of(Case one) throws IOException;
    }

    /** One case: its fields, and the folder that its files lie in. */
    private static final class Case {
        final Path root;
        final Map<String, Object> fields;

        Case(Path root, Object fields) {
            this.root = root;
            this.fields = Json.asObject(fields);
        }

        Object get(String name) {
            return fields.get(name);
        }

        String text(String name) {
            return (String) fields.get(name);
        }

        Map<String, Object> object(String name) {
            return Json.asObject(fields.get(name));
        }

        /** What a step gives, or null for a case that is refused: it raises exactly the error of this name. */
        <T> T expecting(ThrowingSupplier<T> step) {
            if (text("error") == null) {
                try {
                    return step.get();
                } catch (Throwable error) {
                    throw new AssertionError(error);
                }
            }
            CompatError error = assertThrows(CompatError.class, step::get);
            assertEquals(text("error"), error.getClass().getSimpleName(), error.getMessage());
            assertTrue(error.getMessage().length() < 400, error.getMessage());
            return null;
        }

        /** The case's files laid out in a new folder. */
        Path folder() throws IOException {
            Path folder = Files.createTempDirectory("case");
            for (Map.Entry<String, Object> file : object("files").entrySet()) {
                Path to = folder.resolve(file.getKey());
                Files.createDirectories(to.getParent());
                Files.copy(root.resolve((String) file.getValue()), to);
            }
            return folder;
        }

        Array array(String name) throws IOException {
            return new Array(Files.readAllBytes(root.resolve(text(name))));
        }
    }

    private static final class Array {
        final byte[] content;
        final Npy npy;

        Array(byte[] content) {
            this.content = content;
            npy = new Npy(ByteBuffer.wrap(content), content.length, "array");
        }

        float[] floats() {
            return npy.floats(ByteBuffer.wrap(content));
        }

        byte[] bytes() {
            return Arrays.copyOfRange(content, npy.start, content.length);
        }

        Picture picture() {
            return new Picture(bytes(), npy.shape[1], npy.shape[0], npy.shape.length == 2 ? 1 : npy.shape[2]);
        }
    }

    private static Stream<DynamicTest> tests(String kind, Check check) throws IOException {
        List<DynamicTest> tests = new ArrayList<>();
        for (String folder : System.getProperty("cases").split(":")) {
            Path root = Paths.get(folder);
            if (!Files.exists(root.resolve(kind + ".json"))) {
                continue; // random cases are of some kinds alone; that each kind has some is asserted below
            }
            String text = new String(Files.readAllBytes(root.resolve(kind + ".json")), StandardCharsets.US_ASCII);
            for (Object one : (List<?>) Json.asObject(Json.value(text, true)).get("cases")) {
                Case each = new Case(root, one);
                tests.add(DynamicTest.dynamicTest(each.text("name"), (Executable) () -> check.of(each)));
            }
        }
        assertTrue(tests.size() > 8, kind + ": " + tests.size());
        return tests.stream();
    }

    private static void assertNear(float[] expected, float[] found, double bound) {
        assertEquals(expected.length, found.length);
        for (int at = 0; at < found.length; at += 1) {
            assertEquals(expected[at], found[at], bound * Math.max(1, Math.abs(expected[at])));
        }
    }

    @TestFactory
    Stream<DynamicTest> bundles() throws IOException {
        return tests("bundles", one -> {
            Path path = one.text("zip") == null ? one.folder() : one.root.resolve(one.text("zip"));
            Bundle bundle = one.expecting(() -> Bundle.open(path));
            if (one.get("opens") != null) {
                assertEquals(one.object("opens"), said(bundle));
            }
        });
    }

    private static Map<String, Object> said(Bundle bundle) {
        Manifest of = bundle.manifest;
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("digest", bundle.digest);
        found.put("name", of.name);
        found.put("role", of.role);
        found.put("space", of.space);
        found.put("searches", of.searches);
        found.put("dim", (long) of.dim);
        found.put("release", (long) of.release);
        found.put("mmacs", of.mmacs);
        found.put("preprocessing", said(of.preprocessing));
        found.put("graphs", of.graphs.stream().map(ConformanceTest::said).collect(Collectors.toList()));
        found.put("files", of.files.keySet().stream().sorted(Json::byCodePoint).collect(Collectors.toList()));
        return found;
    }

    private static Map<String, Object> said(Preprocessing of) {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("size", (long) of.size);
        found.put("fit", of.fit);
        found.put("resize", of.resize);
        found.put("draft", (long) of.draft);
        found.put("mean", Arrays.stream(of.mean).boxed().collect(Collectors.toList()));
        found.put("std", Arrays.stream(of.std).boxed().collect(Collectors.toList()));
        found.put("channels", of.channels);
        if (of.crop != 1) {
            found.put("crop", of.crop);
        }
        return found;
    }

    private static Map<String, Object> said(Graph of) {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("target", of.target);
        found.put("precision", of.precision);
        found.put("file", of.file);
        found.put("inputs", of.inputs);
        found.put("output", of.output);
        found.put("batch", of.batch == null ? null : (Long) (long) of.batch);
        found.put("layout", of.layout);
        found.put("values", of.values);
        found.put("min_cosine", of.minCosine);
        return found;
    }

    @TestFactory
    Stream<DynamicTest> spaces() throws IOException {
        return tests("spaces", one -> one.expecting(() -> {
            new Embeddings(new float[] {1}, 1, one.text("space"), texts(one.get("searches")))
                    .requireCompatible(one.text("gallery_space"));
            return null;
        }));
    }

    private static List<String> texts(Object value) {
        return ((List<?>) value).stream().map(text -> (String) text).collect(Collectors.toList());
    }

    @TestFactory
    Stream<DynamicTest> preprocessing() throws IOException {
        return tests("preprocessing", one -> {
            Function<Object, Preprocessing> read = value -> Preprocessing.of(value, "preprocessing");
            byte[] pixels = one.expecting(() -> read.apply(one.get("preprocessing")).toPixels(one.array("pixels").picture()));
            if (one.get("resized") == null) {
                return;
            }
            byte[] resized = one.array("resized").bytes();
            assertEquals(resized.length, pixels.length);
            for (int at = 0; at < pixels.length; at += 1) {
                assertEquals(resized[at] & 255, pixels[at] & 255, 1, "level of " + at);
            }
            Map<String, Object> graph = new LinkedHashMap<>();
            graph.put("target", "onnx");
            graph.put("precision", "fp32");
            graph.put("file", "model.onnx");
            graph.put("inputs", Arrays.asList("image"));
            graph.put("layout", one.get("layout"));
            graph.put("values", one.get("values"));
            Graph taking = new Graph(graph, Json.asObject(Json.value("{\"model.onnx\": 1}", false)));
            assertNear(one.array("input").floats(), read.apply(one.get("preprocessing")).toInput(resized, taking), 1e-6);
        });
    }

    @TestFactory
    Stream<DynamicTest> embeddings() throws IOException {
        return tests("embeddings", one -> {
            Bundle bundle = Bundle.open(one.folder());
            Array input = one.array("input");
            Array output = one.array("output");
            Engine recorded = new Engine() {
                @Override
                public String name() {
                    return "recorded";
                }

                @Override
                public Tensor run(Tensor images) {
                    assertArrayEquals(input.npy.shape, images.shape);
                    assertNear(input.floats(), images.values, 0.02);
                    return new Tensor(output.npy.shape, output.floats());
                }
            };
            Embedder embedder = new Embedder(bundle, bundle.manifest.graphs.get(0), recorded);
            Embeddings found = one.expecting(() -> embedder.embed(one.array("pixels").picture()));
            if (one.get("embedding") != null) {
                assertNear(one.array("embedding").floats(), found.vectors, 1e-6);
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> galleries() throws IOException {
        return tests("galleries", one -> {
            Path folder = one.folder();
            Gallery gallery = one.expecting(() -> Gallery.open(folder));
            if (one.get("opens") == null) {
                return;
            }
            Map<String, Object> opens = new LinkedHashMap<>(one.object("opens"));
            Map<String, Object> found = new LinkedHashMap<>();
            found.put("space", gallery.space);
            found.put("dim", (long) gallery.dim);
            found.put("dtype", gallery.dtype);
            found.put("rows", (long) gallery.size());
            found.put("segments", (long) gallery.segments);
            found.put("generation", gallery.generation);
            found.put("model", gallery.model);
            found.put("ids", gallery.ids);
            found.put("labels", gallery.labels);
            assertEquals(opens, found);
            for (Object search : (List<?>) one.get("searches")) {
                search(gallery, new Case(one.root, search));
            }
        });
    }

    private static void search(Gallery gallery, Case one) throws IOException {
        List<List<Hit>> hits = one.expecting(() -> {
            Array queries = one.array("queries");
            int dim = queries.npy.shape[1];
            Embeddings query = new Embeddings(queries.floats(), dim, one.text("space"), texts(one.get("searches")));
            return gallery.search(query, (int) (long) (Long) one.get("k"));
        });
        if (one.get("hits") == null) {
            return;
        }
        List<?> expected = (List<?>) one.get("hits");
        assertEquals(expected.size(), hits.size());
        for (int row = 0; row < expected.size(); row += 1) {
            List<?> line = (List<?>) expected.get(row);
            assertEquals(line.size(), hits.get(row).size());
            for (int place = 0; place < line.size(); place += 1) {
                Map<String, Object> hit = Json.asObject(line.get(place));
                Hit got = hits.get(row).get(place);
                assertEquals(hit.get("id") + " " + hit.get("label"), got.id + " " + got.label);
                assertEquals(Fields.numberOf(hit.get("score")), got.score, 1e-6);
            }
        }
    }
}
