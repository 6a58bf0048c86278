package compatsdk;

import static compatsdk.Fields.expect;

import compatsdk.CompatError.BundleError;
import compatsdk.CompatError.ConfigError;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** What a bundle says about its model, checked as compat_sdk/bundle/manifest.py does. */
public final class Manifest {
    private static final List<String> SINCE_3 = Arrays.asList("identity", "certificates", "release", "expires");
    private static final List<String> FIELDS = Arrays.asList(
            "format", "version", "digest", "name", "role", "space", "searches", "dim", "preprocessing", "tier", "mmacs",
            "mmacs_paper", "params_m", "license", "arch", "graphs", "created_by", "files", "source");
    private static final List<String> IDENTITY =
            Arrays.asList("weights", "arch", "dim", "preprocessing", "network", "output");
    private static final Pattern DAY = Pattern.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}");
    private static final Pattern SOME = Pattern.compile("(?s).+");

    /** Name of the model for people. */
    public final String name;

    /** {@code query}, {@code gallery} or {@code side-info}; {@code transform} for a model of vectors. */
    public final String role;

    /** Embedding space that it writes in. */
    public final String space;

    /** Gallery spaces that its vectors may search, besides their own. */
    public final List<String> searches;

    /** Numbers per embedding. */
    public final int dim;

    /** What a client does to an image before a graph sees it; null for a transform. */
    public final Preprocessing preprocessing;

    /** Millions of multiply-accumulates per image. */
    public final double mmacs;

    /** Counts the published versions of one name, from 1. */
    public final int release;

    /** Last day on which it is meant to be used, or null. */
    public final String expires;

    /** Exported forms of the model. */
    public final List<Graph> graphs;

    /** SHA-256 and size in bytes of every file but the manifest and a signature. */
    public final Map<String, FileRecord> files;

    /** Which file it must be. */
    public static final class FileRecord {
        final String sha256;
        final long bytes;

        FileRecord(Object value, String what) {
            Fields of = Fields.of(value, what, Arrays.asList("sha256", "bytes"));
            sha256 = of.text("sha256", Fields.SHA256, "64 lower-case hexadecimal digits");
            bytes = of.integer("bytes", 0, Long.MAX_VALUE);
        }
    }

    /**
     * The manifest of a parsed manifest.json.
     *
     * @throws BundleError another format or version, a digest that does not match, a field that is missing, unknown or
     *     out of its range.
     */
    static Manifest of(Map<String, Object> value) {
        try {
            return new Manifest(value);
        } catch (ConfigError error) {
            throw new BundleError("manifest.json is malformed: " + error.getMessage(), error);
        }
    }

    private Manifest(Map<String, Object> value) {
        expect("compat-sdk-bundle".equals(value.get("format")), "format", value.get("format"), "compat-sdk-bundle");
        Object version = value.get("version");
        boolean known = version instanceof Long && ((Long) version == 2 || (Long) version == 3);
        expect(known, "version", version, "2 or 3; upgrade compat-sdk or export the model again");
        String seal = Digests.sealOf(value);
        expect(seal.equals(value.get("digest")), "digest", value.get("digest"), seal + ": restore it from its source");
        List<String> needed = new ArrayList<>(FIELDS);
        boolean old = (Long) version == 2;
        needed.addAll(old ? Collections.<String>emptyList() : SINCE_3);
        Fields of = Fields.of(value, "manifest.json", needed);

        name = of.printable("name", 120);
        of.text("tier", Graph.WORD, "a word");
        role = of.oneOf("role", "query", "gallery", "side-info", "transform");
        space = Spaces.check(of.get("space"));
        searches = of.list("searches").stream().map(Spaces::check).collect(Collectors.toList());
        dim = (int) of.integer("dim", 1, 65536);
        mmacs = of.number("mmacs", 0, Double.MAX_VALUE);
        of.number("mmacs_paper", 0, Double.MAX_VALUE);
        of.number("params_m", 0, Double.MAX_VALUE);
        of.text("license");
        of.text("created_by");
        String arch = of.text("arch");
        release = old ? 1 : (int) of.integer("release", 1, Integer.MAX_VALUE);
        Object last = of.get("expires");
        expect(last == null || isDay(last), "expires", last, "a day such as 2027-12-31, or none");
        expires = (String) last;
        Object given = of.get("preprocessing");
        preprocessing = given == null ? null : Preprocessing.of(given, "preprocessing");
        files = readFiles(of.get("files"));
        Map<String, Object> listed = Json.asObject(of.get("files"));
        graphs = of.list("graphs").stream().map(one -> new Graph(one, listed)).collect(Collectors.toList());
        expect(!graphs.isEmpty(), "graphs", graphs.size(), "at least one exported form of the model");
        checkRole(of);
        checkIdentity(of, arch, old);
        if (!old) {
            checkCertificates(of.list("certificates"));
        }
        boolean pictures = files.keySet().stream().anyMatch(file -> file.startsWith(Golden.PICTURES));
        boolean promised = !old && !role.equals("transform");
        expect(pictures || !promised, "files", "no golden picture",
                "some: without them a self-test sees neither colour nor shape");
    }

    private static boolean isDay(Object value) {
        try {
            String text = value instanceof String ? (String) value : "";
            return DAY.matcher(text).matches() && LocalDate.parse(text).getYear() >= 1;
        } catch (DateTimeException error) {
            return false;
        }
    }

    private static Map<String, FileRecord> readFiles(Object value) {
        expect(value instanceof Map, "files", value, "records by name");
        Names.checkFiles(Json.asObject(value).keySet());
        Map<String, FileRecord> found = new LinkedHashMap<>();
        Json.asObject(value).forEach((name, record) -> found.put(name, new FileRecord(record, "files." + name)));
        return Collections.unmodifiableMap(found);
    }

    private void checkRole(Fields of) {
        boolean searching = role.equals("query") || role.equals("gallery");
        expect(searching || searches.isEmpty(), "searches", searches, "none of a " + role + " model");
        List<String> taken = role.equals("transform") ? sourceInputs(of) : null;
        if (taken == null) {
            expect(of.get("source") == null && preprocessing != null, "source", of.get("source"), "none, of images");
        }
        for (Graph graph : graphs) {
            boolean fits = taken == null ? graph.inputs.size() == 1 : graph.inputs.equals(taken);
            expect(fits, "inputs", graph.inputs, taken == null ? "one, the image" : String.join(", ", taken));
            boolean plain = graph.layout.equals("nchw") && graph.values.equals("prepared");
            expect(taken == null || plain, "layout or values", graph.layout, "those of vectors");
        }
    }

    /** What a transform takes: it embeds no image, and is refused later, but not for what it says. */
    private List<String> sourceInputs(Fields of) {
        List<String> needed = Arrays.asList("old_space", "old_dim");
        Fields source = Fields.of(of.get("source"), "source", needed, "side_space", "side_dim");
        expect(preprocessing == null, "preprocessing", of.get("preprocessing"), "none of a transform");
        boolean side = source.get("side_space") != null;
        expect(side == (source.get("side_dim") != null), "side_dim", source.get("side_dim"), "both or neither");
        expect(!space.equals(Spaces.check(source.get("old_space"))), "old_space", space, "another one than the new model's");
        source.integer("old_dim", 1, 65536);
        if (side) {
            Spaces.check(source.get("side_space"));
            source.integer("side_dim", 1, 65536);
        }
        return side ? Arrays.asList("old", "side") : Collections.singletonList("old");
    }

    private void checkIdentity(Fields of, String arch, boolean old) {
        List<Object> spaces = new ArrayList<>(searches);
        spaces.add(space);
        if (of.get("source") != null) {
            spaces.add(Json.asObject(of.get("source")).get("old_space"));
            spaces.add(Json.asObject(of.get("source")).get("side_space"));
        }
        boolean later = spaces.stream().anyMatch(one -> one != null && Spaces.coversAll((String) one));
        expect(!old || !later, "a space of version 2", spaces, "a name as 0.7 gave them");
        if (role.equals("transform")) {
            return; // it takes no images, and is refused for that
        }
        if (of.get("identity") == null) {
            expect(!Spaces.coversAll(space), "identity", null, "that of which space " + space + " is the digest");
            return;
        }
        Fields own = Fields.of(of.get("identity"), "identity", IDENTITY);
        own.text("weights", Fields.SHA256, "a SHA-256");
        own.text("output", SOME, "text");
        expect(own.text("arch", SOME, "text").equals(arch), "identity.arch", own.get("arch"), arch);
        own.integer("dim", dim, dim);
        expect(own.get("network") instanceof Map, "identity.network", own.get("network"), "settings by name");
        for (Object one : Json.asObject(own.get("network")).values()) {
            expect(one instanceof String || Fields.isNumber(one), "identity.network", one, "numbers and texts");
        }
        Preprocessing inside = Preprocessing.of(own.get("preprocessing"), "identity.preprocessing");
        boolean left = graphs.stream().allMatch(graph -> preprocessing.sameAs(inside.clientPart(graph)));
        expect(left, "preprocessing", of.get("preprocessing"), "what the identity and the graphs leave to a client");
        Map<String, Object> covered = new LinkedHashMap<>(own.values);
        covered.put("preprocessing", Preprocessing.canonical(Json.asObject(own.get("preprocessing"))));
        covered.put("format", "compat-sdk-space");
        covered.put("version", 1L);
        String digest = Digests.sha256(Json.canonical(covered).getBytes(StandardCharsets.UTF_8));
        String named = arch.split(":", 2)[0] + "-" + dim + "-" + digest.substring(0, 16);
        expect(space.equals(named), "space", space, named + ": a part of it was changed after it was named");
    }

    private void checkCertificates(List<?> values) {
        List<String> seen = new ArrayList<>();
        for (Object value : values) {
            Certificate one = new Certificate(value);
            boolean ours = one.querySpace.equals(space) && searches.contains(one.gallerySpace);
            expect(ours, "a certificate", one.querySpace + " in " + one.gallerySpace, "this model and what it searches");
            expect(!seen.contains(one.evaluation()), "certificates", one.evaluation(), "one of each gallery and data");
            seen.add(one.evaluation());
        }
    }
}
