package compatsdk;

import compatsdk.CompatError.BundleError;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/** The files of a bundle in either form, by their names with {@code /}. Nothing is known yet about what they hold. */
interface BundleFiles {
    int MOST_FILES = 10_000;

    /** Size in bytes of every file. */
    Map<String, Long> sizes();

    /** The content of a listed file. */
    byte[] read(String name) throws IOException;

    /** The files of a folder, or else of a zip whatever its name. */
    static BundleFiles open(Path path) throws IOException {
        return Files.isDirectory(path) ? new Folder(path) : new ZipFiles(path);
    }

    /** A folder of plain files; links are refused, and what desktops leave in any folder is passed over. */
    final class Folder implements BundleFiles {
        private final Path folder;
        private final Map<String, Long> sizes = new TreeMap<>();

        Folder(Path folder) throws IOException {
            this.folder = folder;
            // Before anything else is listed: the folder named by mistake may be a whole disk.
            if (!Files.isRegularFile(folder.resolve(Names.MANIFEST), LinkOption.NOFOLLOW_LINKS)) {
                throw new BundleError(folder + " is not a bundle: it has no plain file " + Names.MANIFEST, null);
            }
            // A folder may be reached by a link, so that the walk begins at what it leads to.
            Path top = folder.toRealPath();
            try (Stream<Path> found = Files.walk(top)) {
                for (Path path : (Iterable<Path>) found::iterator) {
                    if (!Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
                        add(path, top.relativize(path).toString().replace('\\', '/'));
                    }
                }
            }
        }

        private void add(Path path, String name) throws IOException {
            if (!Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) {
                throw new BundleError(path + " is a link or a special file; a bundle holds plain files only", null);
            } else if (!Names.isLitter(path.getFileName().toString())) {
                sizes.put(name, Files.size(path));
            }
            if (sizes.size() > MOST_FILES) {
                throw new BundleError(folder + " holds more than " + MOST_FILES + " files; a bundle never does", null);
            }
        }

        @Override
        public Map<String, Long> sizes() {
            return sizes;
        }

        @Override
        public byte[] read(String name) throws IOException {
            return Files.readAllBytes(folder.resolve(name));
        }
    }
}
