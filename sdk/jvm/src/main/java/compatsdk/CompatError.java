package compatsdk;

/** Everything that this runtime raises on purpose, by the names that it has in Python (compat_sdk.errors). */
public class CompatError extends RuntimeException {
    CompatError(String message, Throwable cause) {
        super(message, cause);
    }

    /** A setting is out of its range, or two settings clash: what was asked for is at fault. */
    public static class ConfigError extends CompatError {
        ConfigError(String message) {
            super(message, null);
        }
    }

    /** Data that cannot be used as they stand. */
    public static class DataError extends CompatError {
        DataError(String message) {
            super(message, null);
        }
    }

    /** One image cannot be read. */
    public static class ImageError extends DataError {
        ImageError(String message) {
            super(message);
        }
    }

    /** Vectors that no index may see: NaN, zero, wrong shape. */
    public static class VectorError extends CompatError {
        VectorError(String message) {
            super(message, null);
        }
    }

    /** A file differs from its recorded digest, size or format. */
    public static class CorruptFileError extends CompatError {
        CorruptFileError(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** A bundle is incomplete, malformed or of a version that this release cannot read. */
    public static class BundleError extends CorruptFileError {
        BundleError(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** A stored gallery is incomplete, malformed or of a version that this release cannot read. */
    public static class GalleryError extends CorruptFileError {
        GalleryError(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** The operating system refused to open or read a file; nothing says that the file is damaged. */
    public static class SystemRefusedError extends CompatError {
        SystemRefusedError(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** Query and gallery live in different embedding spaces. */
    public static class IncompatibleSpaceError extends CompatError {
        IncompatibleSpaceError(String message) {
            super(message, null);
        }
    }

    /** A self-test did not hold. */
    public static class CheckFailedError extends CompatError {
        CheckFailedError(String message) {
            super(message, null);
        }
    }
}
