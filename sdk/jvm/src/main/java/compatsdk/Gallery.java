package compatsdk;

import static compatsdk.Fields.expect;

import compatsdk.CompatError.ConfigError;
import compatsdk.CompatError.CorruptFileError;
import compatsdk.CompatError.GalleryError;
import compatsdk.CompatError.VectorError;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * Stored vectors of one embedding space, with ids and labels, read and searched. Only Python writes one.
 *
 * <p>The vectors are mapped, so that they take memory that the system can take back; ids and labels are on the heap.
 * Searches from several threads are independent. Let go of the object, and the files are unmapped with it.
 */
public final class Gallery {
    private static final String STATE = "gallery.json";
    private static final String RESTORE = "; restore the gallery from a copy, or build it again";
    private static final Pattern OURS = Pattern.compile("(vectors|rows|index)-[0-9]+-[0-9a-f]{16}\\.(npy|jsonl?|usearch|hnswlib|faiss)");
    private static final List<String> FIELDS = Arrays.asList(
            "format", "version", "digest", "space", "dim", "model", "generation", "content", "segments", "index");
    private static final int ROWS_PER_THREAD = 16_384;
    private static final int MOST_NUMBERS = 1 << 20; // of a row: a block of them fits an array

    /** Its folder. */
    public final Path path;

    /** Embedding space of the vectors. */
    public final String space;

    /** Numbers per vector. */
    public final int dim;

    /** How the numbers are stored: {@code float32}, {@code float16} or {@code int8}. */
    public final String dtype;

    /** Grows with every change. */
    public final long generation;

    /** What is known of the gallery's model, as JSON. */
    public final Map<String, Object> model;

    /** How many pairs of files hold the rows. */
    public final int segments;

    /** Id of every row. */
    public final List<String> ids;

    /** Label of every row, empty where none was given. */
    public final List<String> labels;

    private final List<Rows> parts = new ArrayList<>();

    /**
     * Verify a gallery, every byte that a search uses, and return it ready to be searched.
     *
     * @throws GalleryError no gallery, or a damaged one.
     * @throws CompatError.SystemRefusedError the system refused to read a file.
     */
    public static Gallery open(Path path) {
        while (true) {
            byte[] state = read(path);
            try {
                return new Gallery(path, state);
            } catch (IOException | ConfigError | CorruptFileError error) {
                if (!Arrays.equals(state, read(path))) {
                    continue; // a writer replaced it meanwhile
                }
                throw asGalleryError(path, error);
            }
        }
    }

    private static CompatError asGalleryError(Path path, Exception error) {
        Exception found = error instanceof IOException ? Digests.unreadable(path, (IOException) error) : error;
        boolean other = found instanceof GalleryError || found instanceof CompatError.SystemRefusedError;
        return other ? (CompatError) found : new GalleryError(path + ": " + found.getMessage() + RESTORE, error);
    }

    private static byte[] read(Path path) {
        try {
            if (!Files.isRegularFile(path.resolve(STATE))) {
                throw new GalleryError(path + " is not a gallery: found no " + STATE + "; check the path", null);
            }
            if (Files.size(path.resolve(STATE)) > Json.LARGEST) {
                throw new GalleryError(STATE + " of " + path + " is larger than any gallery's" + RESTORE, null);
            }
            return Files.readAllBytes(path.resolve(STATE));
        } catch (IOException error) {
            throw asGalleryError(path, error);
        }
    }

    private Gallery(Path path, byte[] document) throws IOException {
        this.path = path;
        Map<String, Object> value = Json.object(document, STATE);
        Fields of = Fields.of(value, "", FIELDS, "dtype");
        of.oneOf("format", "compat-sdk-gallery");
        long version = of.integer("version", 1, 4);
        space = Spaces.check(of.get("space"));
        dim = (int) of.integer("dim", 1, MOST_NUMBERS);
        generation = of.integer("generation", 0, Long.MAX_VALUE);
        of.integer("content", 0, Long.MAX_VALUE);
        dtype = of.has("dtype") ? of.oneOf("dtype", "float16", "int8") : "float32";
        expect(of.get("model") instanceof Map, "model", of.get("model"), "what is known of it, by name");
        model = Collections.unmodifiableMap(Json.asObject(of.get("model")));
        boolean other = false;
        if (of.get("index") != null) {
            Fields index = Fields.of(of.get("index"), "index", Arrays.asList("kind", "content", "options", "file"));
            other = !index.text("kind").equals("usearch");
            index.integer("content", 0, Long.MAX_VALUE);
            expect(index.get("options") instanceof Map, "index.options", index.get("options"), "settings by name");
            file(index.get("file"));
        }
        List<Fields> stored = new ArrayList<>();
        boolean lines = false;
        for (Object one : of.list("segments")) {
            Fields segment = Fields.of(one, "a segment", Arrays.asList("rows", "vectors", "table"));
            segment.integer("rows", 0, Integer.MAX_VALUE);
            file(segment.get("vectors"));
            lines |= file(segment.get("table")).text("name").endsWith(".jsonl");
            stored.add(segment);
        }
        expect(version == (other ? 4 : lines ? 3 : of.has("dtype") ? 2 : 1), "version", version, "that of what it holds");
        value.put("digest", Digests.sealOf(value));
        byte[] wanted = Json.indented(value).getBytes(StandardCharsets.UTF_8);
        expect(Arrays.equals(wanted, document), STATE, "another text", "what its own digest says");

        segments = stored.size();
        List<String> names = new ArrayList<>();
        List<String> words = new ArrayList<>();
        for (Fields segment : stored) {
            readTable(segment, names, words);
            Path vectors = verified(file(segment.get("vectors")));
            parts.addAll(Rows.map(vectors, (int) segment.integer("rows", 0, Integer.MAX_VALUE), dim, dtype));
        }
        ids = Collections.unmodifiableList(names);
        labels = Collections.unmodifiableList(words);
    }

    private static Fields file(Object value) {
        Fields file = Fields.of(value, "a file", Arrays.asList("name", "sha256", "bytes"));
        file.text("name", OURS, "a name that a gallery gives");
        file.text("sha256", Fields.SHA256, "64 lower-case hexadecimal digits");
        file.integer("bytes", 0, Long.MAX_VALUE);
        return file;
    }

    private Path verified(Fields file) {
        Path found = path.resolve(file.text("name"));
        Digests.require(found, file.text("sha256"), file.integer("bytes", 0, Long.MAX_VALUE));
        return found;
    }

    /** A segment's table: one line of JSON for each 65,536 rows. */
    private void readTable(Fields segment, List<String> ids, List<String> labels) throws IOException {
        Path table = verified(file(segment.get("table")));
        int before = ids.size();
        try {
            for (String line : Files.readAllLines(table)) {
                Map<String, Object> names = Json.asObject(Json.value(line, true));
                ((List<?>) names.get("ids")).forEach(id -> ids.add((String) Objects.requireNonNull(id)));
                ((List<?>) names.get("labels")).forEach(one -> labels.add((String) Objects.requireNonNull(one)));
                expect(ids.size() == labels.size(), "a table", labels.size(), "a label of each of " + ids.size() + " ids");
            }
        } catch (ClassCastException | NullPointerException | IllegalArgumentException error) {
            throw new GalleryError(table + " lists no ids and labels" + RESTORE, error);
        }
        expect(ids.size() - before == segment.integer("rows", 0, Integer.MAX_VALUE), "rows", segment.get("rows"),
                ids.size() - before + ", as the table lists");
    }

    /** How many rows there are. */
    public int size() {
        return ids.size();
    }

    /**
     * The nearest stored images of every query, by an exact search: every row is scored.
     *
     * @param query embeddings that may search this gallery's space.
     * @param k hits wanted per query, at least 1; a smaller gallery gives all it has.
     * @return for each query its hits, best first; of equal scores the row that comes first wins.
     * @throws CompatError.IncompatibleSpaceError the query may not search this gallery's space.
     * @throws VectorError the query has another dimension.
     * @throws ConfigError k is below 1.
     */
    public List<List<Hit>> search(Embeddings query, int k) {
        query.requireCompatible(space);
        if (query.dim != dim) {
            throw new VectorError("found vectors of dimension " + query.dim + ", expected " + dim);
        } else if (k < 1) {
            throw new ConfigError("k is " + k + ", expected an integer of at least 1");
        }
        List<List<Hit>> found = new ArrayList<>();
        for (int row = 0; row < query.size(); row += 1) {
            Best best = best(Arrays.copyOfRange(query.vectors, row * dim, (row + 1) * dim), Math.min(k, size()));
            List<Hit> hits = new ArrayList<>();
            for (long key : best.keys()) {
                int at = Best.row(key);
                hits.add(new Hit(ids.get(at), labels.get(at), Math.max(-1, Math.min(1, Best.score(key)))));
            }
            found.add(hits);
        }
        return found;
    }

    private Best best(float[] query, int k) {
        Best best = new Best(k);
        int first = 0;
        for (Rows part : parts) {
            int start = first;
            int shares = (part.count + ROWS_PER_THREAD - 1) / ROWS_PER_THREAD;
            IntStream.range(0, shares).parallel().mapToObj(share -> {
                int from = share * ROWS_PER_THREAD;
                return scan(part, query, k, start, from, Math.min(part.count, from + ROWS_PER_THREAD));
            }).forEachOrdered(best::merge);
            first += part.count;
        }
        return best;
    }

    private static Best scan(Rows part, float[] query, int k, int first, int from, int to) {
        Best best = new Best(Math.min(k, to - from));
        float[] scores = new float[Rows.BLOCK];
        Rows.Scorer scorer = part.scorer(query);
        for (int start = from; start < to; start += Rows.BLOCK) {
            int rows = Math.min(Rows.BLOCK, to - start);
            scorer.score(start, rows, scores);
            for (int row = 0; row < rows; row += 1) {
                best.offer(scores[row], first + start + row);
            }
        }
        return best;
    }
}
