package compatsdk;

import compatsdk.CompatError.BundleError;
import compatsdk.CompatError.ConfigError;
import compatsdk.CompatError.CorruptFileError;
import compatsdk.Manifest.FileRecord;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** A bundle whose every file was verified: a model with everything that is needed to embed images with it. */
public final class Bundle {
    private static final long LARGEST_DOCUMENT = 4 << 20;
    private static final Pattern SUFFIXES = Pattern.compile(
            ".*\\.(pkl|pickle|pt|pth|ckpt|joblib|npz|zip|tar|gz|tgz|bz2|xz|zst|7z|rar|jar|whl)", Pattern.CASE_INSENSITIVE);
    private static final List<String> ARCHIVES = Arrays.asList(
            "PK\003\004", "PK\005\006", "\037\213\b", "\375" + "7zXZ\0", "7z\274\257'\034", "Rar!\032\007", "(\265/\375");

    /** Its folder or zip file. */
    public final Path path;

    /** What it says about its model. */
    public final Manifest manifest;

    /** SHA-256 of the manifest's bytes, which name the digest of every other file. */
    public final String digest;

    private final BundleFiles files;

    private Bundle(Path path) throws IOException {
        this.path = path;
        files = BundleFiles.open(path);
        if (files.sizes().getOrDefault(Names.MANIFEST, 0L) > LARGEST_DOCUMENT) {
            throw new BundleError(Names.MANIFEST + " of " + path + " has more than " + LARGEST_DOCUMENT + " bytes", null);
        }
        byte[] document = files.read(Names.MANIFEST);
        digest = Digests.sha256(document);
        manifest = Manifest.of(Json.object(document, Names.MANIFEST));
    }

    /**
     * Verify a bundle, folder or zip, and return it.
     *
     * <p>A signature is not looked at: a digest tells damage, not origin. Let an app get its bundles from a source that it
     * trusts.
     *
     * @throws BundleError it is damaged, incomplete, or past its last day by this device's clock in UTC.
     * @throws ConfigError it is a transform of embeddings, which embeds no images.
     * @throws CompatError.SystemRefusedError the system refused to read a file.
     */
    public static Bundle open(Path path) {
        try {
            Bundle bundle = new Bundle(path);
            bundle.verify();
            return bundle;
        } catch (IOException error) {
            throw asBundleError(path, Digests.unreadable(path, error));
        } catch (UncheckedIOException error) { // a folder inside that may not be listed
            throw asBundleError(path, Digests.unreadable(path, error.getCause()));
        } catch (CorruptFileError error) {
            throw asBundleError(path, error);
        }
    }

    private void verify() {
        String today = LocalDate.now(ZoneOffset.UTC).toString();
        if (manifest.expires != null && today.compareTo(manifest.expires) > 0) {
            throw new BundleError(path + " was meant to be used until " + manifest.expires
                    + ", and by this clock it is " + today + "; get a newer release", null);
        }
        List<String> unlisted = new ArrayList<>(files.sizes().keySet());
        unlisted.removeAll(manifest.files.keySet());
        unlisted.removeAll(Names.OUTSIDE_MANIFEST);
        if (!unlisted.isEmpty()) {
            String some = Fields.shown(unlisted);
            throw new BundleError(path + " holds files that its manifest does not list: " + some + "; remove them", null);
        }
        manifest.files.keySet().forEach(this::read);
        if (manifest.preprocessing == null) {
            throw new ConfigError(path + " is a transform of embeddings and takes no images; open a model of images");
        }
        golden();
    }

    /**
     * The content of one listed file, compared with its digest.
     *
     * @throws BundleError the bundle does not list it, or it is another one.
     */
    public byte[] read(String name) {
        FileRecord record = manifest.files.get(name);
        Long size = files.sizes().get(name);
        if (record == null || size == null) {
            throw new BundleError(path + " has no file " + name + (record == null ? " in its manifest" : ""), null);
        } else if (size != record.bytes) {
            throw new BundleError(name + " of " + path + " has " + size + " bytes, expected " + record.bytes, null);
        }
        try {
            byte[] content = files.read(name);
            String found = Digests.sha256(content);
            if (!found.equals(record.sha256)) {
                throw new BundleError(name + " of " + path + " has SHA-256 " + found + ", expected " + record.sha256, null);
            } else if (isHidden(name, content)) {
                throw new BundleError(name + " is a pickle or an archive, which can run code or hide it", null);
            }
            return content;
        } catch (IOException error) {
            throw asBundleError(path, Digests.unreadable(path, error));
        }
    }

    /** Whether a file is a pickle or an archive, by its name, its first bytes, or its end: a zip may follow anything. */
    private static boolean isHidden(String name, byte[] content) {
        String head = new String(content, 0, Math.min(content.length, 512), StandardCharsets.ISO_8859_1);
        int last = Math.max(0, content.length - 22);
        String tail = new String(content, last, content.length - last, StandardCharsets.ISO_8859_1);
        boolean pickle = head.length() > 1 && head.charAt(0) == 0x80 && head.charAt(1) <= 5 && tail.endsWith(".");
        boolean archive = ARCHIVES.stream().anyMatch(head::startsWith) || tail.startsWith("PK\005\006");
        archive = archive || (head.startsWith("BZh") && head.startsWith("1AY&SY", 4)) || head.startsWith("ustar", 257);
        return SUFFIXES.matcher(name).matches() || pickle || archive;
    }

    /**
     * The graph of a target, of a precision or else the first listed.
     *
     * @param precision null for any.
     * @throws BundleError there is none.
     */
    public Graph graph(String target, String precision) {
        for (Graph graph : manifest.graphs) {
            if (graph.target.equals(target) && (precision == null || graph.precision.equals(precision))) {
                return graph;
            }
        }
        String listed = manifest.graphs.stream().map(one -> one.target + " " + one.precision).collect(Collectors.joining(", "));
        throw new BundleError(path + " has no " + target + " graph of this precision; it has " + listed, null);
    }

    Golden golden() {
        return new Golden(this);
    }

    private static CompatError asBundleError(Path path, CompatError error) {
        boolean other = error instanceof BundleError || !(error instanceof CorruptFileError);
        return other ? error : new BundleError(path + ": " + error.getMessage(), error);
    }
}
