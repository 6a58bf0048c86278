package compatsdk;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;

/** The self-test, and what an engine is asked, with engines that give what a test wants. */
class EmbedderTest {

    private interface Answer {
        float[] of(int call, Tensor images);
    }

    private static Engine engine(int dim, Answer answer) {
        return new Engine() {
            private int calls;

            @Override
            public String name() {
                return "recorded";
            }

            @Override
            public Tensor run(Tensor images) {
                return new Tensor(new int[] {images.shape[0], dim}, answer.of(calls++, images));
            }
        };
    }

    private static Embedder embedder(Answer answer) {
        Bundle bundle = Bundle.open(zip());
        return new Embedder(bundle, bundle.graph("onnx", null), engine(bundle.manifest.dim, answer));
    }

    private static Path zip() {
        return Paths.get(System.getProperty("cases").split(":")[0]).resolve("bundles/zips/good-zip.zip");
    }

    private static float[] golden(int row) {
        Bundle bundle = Bundle.open(zip());
        byte[] content = bundle.read("golden/embeddings.npy");
        int dim = bundle.manifest.dim;
        Npy npy = new Npy(ByteBuffer.wrap(content), content.length, "golden");
        float[] all = npy.floats(ByteBuffer.wrap(content));
        return Arrays.copyOfRange(all, row * dim, (row + 1) * dim);
    }

    private static Picture decoded(byte[] file, Preprocessing preprocessing) {
        try {
            BufferedImage image = ImageIO.read(new ByteArrayInputStream(file));
            int[] colours = image.getRGB(0, 0, image.getWidth(), image.getHeight(), null, 0, image.getWidth());
            return Picture.ofArgb(colours, image.getWidth(), image.getHeight());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    @Test
    void anEngineThatGivesTheTrainedModelsVectorsPasses() {
        Embedder embedder = embedder((call, images) -> golden(call));
        assertEquals(1, embedder.selfTest(EmbedderTest::decoded), 1e-6);
        assertEquals(1, embedder((call, images) -> golden(call)).selfTest(null), 1e-6);
    }

    @Test
    void anotherVectorOrAnotherDecoderIsRefused() {
        assertThrows(CompatError.CheckFailedError.class, () -> embedder((call, images) -> golden(0)).selfTest(null));
        Decoder swapped = (file, preprocessing) -> {
            Picture right = decoded(file, preprocessing);
            for (int at = 0; at < right.data.length; at += 4) {
                byte red = right.data[at];
                right.data[at] = right.data[at + 2];
                right.data[at + 2] = red;
            }
            return right;
        };
        assertThrows(CompatError.CheckFailedError.class, () -> embedder((call, images) -> golden(call)).selfTest(swapped));
    }

    @Test
    void anotherInputThanTheTrainedModelsIsRefused() {
        Bundle bundle = Bundle.open(zip());
        String told = "{\"target\": \"onnx\", \"precision\": \"fp32\", \"file\": \"a\", \"inputs\": [\"image\"]%s}";
        Map<String, Object> files = Collections.singletonMap("a", null);
        for (String more : new String[] {"", ", \"layout\": \"nhwc\"", ", \"values\": \"pixels\""}) {
            Graph graph = new Graph(Json.value(String.format(told, more), false), files);
            Embedder embedder = new Embedder(bundle, graph, engine(bundle.manifest.dim, (call, images) -> golden(call)));
            if (more.contains("values")) {
                assertThrows(CompatError.CheckFailedError.class, () -> embedder.selfTest(null));
            } else {
                assertEquals(1, embedder.selfTest(null), 1e-6);
            }
        }
    }

    @Test
    void anEngineThatFailsIsToldAsThat() {
        CompatError error = assertThrows(CompatError.BundleError.class, () -> embedder((call, images) -> {
            throw new IllegalStateException("no such operator");
        }).embed(new Picture(new byte[3], 1, 1, 3)));
        assertEquals(true, error.getMessage().contains("recorded failed") && error.getMessage().contains("no such operator"));
    }

    @Test
    void asManyNumbersInAnotherShapeAreRefused() {
        Bundle bundle = Bundle.open(zip());
        Engine transposed = new Engine() {
            @Override
            public String name() {
                return "transposed";
            }

            @Override
            public Tensor run(Tensor images) {
                return new Tensor(new int[] {bundle.manifest.dim, 1}, golden(0));
            }
        };
        Embedder embedder = new Embedder(bundle, bundle.graph("onnx", null), transposed);
        assertThrows(CompatError.BundleError.class, () -> embedder.embed(new Picture(new byte[3], 1, 1, 3)));
    }

    @Test
    void noPicturesHaveNoVectors() {
        assertEquals(0, embedder((call, images) -> golden(0)).embed().size());
    }

    @Test
    void aJpegIsReadAtAScaleThatKeepsEnoughOfIt() {
        Preprocessing of = Bundle.open(zip()).manifest.preprocessing; // size 8, draft 2
        assertArrayEquals(new int[] {1, 1, 2, 4, 8, 8}, new int[] {
            of.draftScale(31, 400), of.draftScale(8, 8), of.draftScale(32, 40), of.draftScale(64, 127),
            of.draftScale(128, 128), of.draftScale(4000, 3000)});
    }

    @Test
    void aQueryIsRefusedByWhatItIs() {
        assertThrows(CompatError.VectorError.class, () -> new Embeddings(new float[3], 2, "a", Collections.emptyList()));
        assertThrows(CompatError.VectorError.class, () -> new Embeddings(new float[2], 2, "a", Collections.emptyList()));
        assertThrows(CompatError.ImageError.class, () -> new Picture(new byte[4], 1, 1, 3));
    }
}
