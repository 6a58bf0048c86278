package compatsdk;

import compatsdk.CompatError.CorruptFileError;
import compatsdk.CompatError.SystemRefusedError;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.LinkedHashMap;
import java.util.Map;

/** SHA-256 by the platform, and what is compared with it before anything else reads a file. */
final class Digests {
    private Digests() {}

    /** SHA-256 of bytes, as 64 hexadecimal digits. */
    static String sha256(byte[] data) {
        return hexadecimal(algorithm().digest(data));
    }

    /** SHA-256 of a document's canonical JSON without its {@code digest}. */
    static String sealOf(Map<String, Object> document) {
        Map<String, Object> body = new LinkedHashMap<>(document);
        body.remove("digest");
        return sha256(Json.canonical(body).getBytes(StandardCharsets.UTF_8));
    }

    /**
     * Refuse a file that is not the plain one of a record; its size is compared before its digest.
     *
     * @throws CorruptFileError it is missing, a link, or another one.
     * @throws SystemRefusedError the system refused to read it.
     */
    static void require(Path path, String sha256, long bytes) {
        try {
            if (!Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) {
                throw new CorruptFileError(path + " is no plain file, or is missing", null);
            } else if (Files.size(path) != bytes) {
                throw new CorruptFileError(path + " has " + Files.size(path) + " bytes, expected " + bytes, null);
            }
            MessageDigest digest = algorithm();
            byte[] piece = new byte[1 << 16];
            try (InputStream file = Files.newInputStream(path)) {
                for (int read = file.read(piece); read >= 0; read = file.read(piece)) {
                    digest.update(piece, 0, read);
                }
            }
            String found = hexadecimal(digest.digest());
            if (!found.equals(sha256)) {
                throw new CorruptFileError(path + " has SHA-256 " + found + ", expected " + sha256, null);
            }
        } catch (IOException error) {
            throw unreadable(path, error);
        }
    }

    /** The error for a file that the system does not give: its fault, or the system's. */
    static CompatError unreadable(Path path, IOException error) {
        String said = "cannot read " + path + ": " + error;
        if (error instanceof AccessDeniedException || String.valueOf(error.getMessage()).contains("Too many open files")) {
            return new SystemRefusedError(said + "; the file may be sound: see to permissions and open files", error);
        }
        return new CorruptFileError(said, error);
    }

    private static MessageDigest algorithm() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new AssertionError(error); // every Java platform has it
        }
    }

    private static String hexadecimal(byte[] digest) {
        StringBuilder out = new StringBuilder();
        for (byte one : digest) {
            out.append(Character.forDigit(one >> 4 & 15, 16)).append(Character.forDigit(one & 15, 16));
        }
        return out.toString();
    }
}
