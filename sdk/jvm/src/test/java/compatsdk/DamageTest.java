package compatsdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Whichever byte of a sound bundle or gallery is another one, is missing or is added: it is refused. */
class DamageTest {
    private static final Path ROOT = Paths.get(System.getProperty("cases").split(":")[0]);
    private static final int PLACES = 16;

    private static Map<String, Object> named(String kind, String name) throws IOException {
        String text = new String(Files.readAllBytes(ROOT.resolve(kind + ".json")));
        for (Object one : (List<?>) Json.asObject(Json.value(text, true)).get("cases")) {
            if (Json.asObject(one).get("name").equals(name)) {
                return Json.asObject(one);
            }
        }
        throw new AssertionError(name);
    }

    private static void everywhere(String kind, String name, String error, Consumer<Path> open) throws IOException {
        Map<String, Object> one = named(kind, name);
        Path place = Files.createTempDirectory("damage");
        if (one.get("zip") != null) {
            Path zip = place.resolve("bundle.zip");
            Files.copy(ROOT.resolve((String) one.get("zip")), zip);
            damaged(zip, error, () -> open.accept(zip));
            return;
        }
        for (Map.Entry<String, Object> file : Json.asObject(one.get("files")).entrySet()) {
            Path to = place.resolve(file.getKey());
            Files.createDirectories(to.getParent());
            Files.copy(ROOT.resolve((String) file.getValue()), to);
        }
        for (String file : Json.asObject(one.get("files")).keySet()) {
            damaged(place.resolve(file), error, () -> open.accept(place));
        }
        open.accept(place);
    }

    private static void damaged(Path file, String error, Runnable open) throws IOException {
        byte[] sound = Files.readAllBytes(file);
        assertTrue(sound.length > 0);
        for (int place = 0; place < PLACES; place += 1) {
            byte[] flipped = sound.clone();
            int at = (int) ((long) (sound.length - 1) * place / (PLACES - 1));
            flipped[at] ^= (byte) (1 << place % 8);
            refused(file, flipped, error + " at byte " + at, open);
        }
        // The last byte of a manifest is a line end, which is nobody's content.
        refused(file, Arrays.copyOf(sound, sound.length - 2), error + " cut", open);
        refused(file, Arrays.copyOf(sound, sound.length / 2), error + " cut in half", open);
        refused(file, Arrays.copyOf(sound, sound.length + 1), error + " with a byte more", open);
        refused(file, new byte[0], error + " empty", open);
        Files.delete(file);
        CompatError gone = assertThrows(CompatError.class, open::run);
        assertEquals(error, gone.getClass().getSimpleName());
        Files.write(file, sound);
    }

    private static void refused(Path file, byte[] content, String said, Runnable open) throws IOException {
        Files.write(file, content);
        CompatError found = assertThrows(CompatError.class, open::run, said + " of " + file);
        assertEquals(said.split(" ")[0], found.getClass().getSimpleName(), said + " of " + file);
    }

    @ParameterizedTest
    @ValueSource(strings = {"good", "good-zip", "good-crop-bgr"})
    void aBundleWithOneByteChangedIsRefused(String name) throws IOException {
        everywhere("bundles", name, "BundleError", Bundle::open);
    }

    @ParameterizedTest
    @ValueSource(strings = {"good-float32", "good-float16", "good-int8", "good-lines"})
    void aGalleryWithOneByteChangedIsRefused(String name) throws IOException {
        everywhere("galleries", name, "GalleryError", Gallery::open);
    }

    @Test
    void aLinkIsRefusedWhereAFileIsExpected() throws IOException {
        Map<String, Object> files = Json.asObject(named("bundles", "good").get("files"));
        Path place = Files.createTempDirectory("links");
        for (Map.Entry<String, Object> file : files.entrySet()) {
            Path to = place.resolve("bundle").resolve(file.getKey());
            Files.createDirectories(to.getParent());
            Files.copy(ROOT.resolve((String) file.getValue()), to);
        }
        Bundle.open(place.resolve("bundle"));
        Files.createSymbolicLink(place.resolve("by-a-link"), Paths.get("bundle"));
        Bundle.open(place.resolve("by-a-link"));
        Path graph = place.resolve("bundle/model.onnx");
        Files.move(graph, place.resolve("elsewhere"));
        Files.createSymbolicLink(graph, Paths.get("..", "elsewhere"));
        assertThrows(CompatError.BundleError.class, () -> Bundle.open(place.resolve("bundle")));
        assertThrows(CompatError.BundleError.class, () -> Bundle.open(place.resolve("nothing")));
        assertThrows(CompatError.GalleryError.class, () -> Gallery.open(place.resolve("nothing")));
    }

    @Test
    void whatALaterWriterLeavesBesideAGalleryIsPassedOver() throws IOException {
        Map<String, Object> files = Json.asObject(named("galleries", "good-int8").get("files"));
        Path place = Files.createTempDirectory("beside");
        for (Map.Entry<String, Object> file : files.entrySet()) {
            Files.copy(ROOT.resolve((String) file.getValue()), place.resolve(file.getKey()));
        }
        Files.write(place.resolve("vectors-00000009-0123456789abcdef.npy"), new byte[3]);
        Files.write(place.resolve("gallery.lock"), new byte[0]);
        assertEquals("int8", Gallery.open(place).dtype);
    }
}
