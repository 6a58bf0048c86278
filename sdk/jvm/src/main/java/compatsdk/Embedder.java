package compatsdk;

import compatsdk.CompatError.BundleError;
import compatsdk.CompatError.CheckFailedError;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/** Embeds images with the model of one bundle: its preprocessing and an engine behind one call. */
public final class Embedder {
    private static final int[][] OTHER_ORDERS = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    /** The bundle. */
    public final Bundle bundle;

    private final Graph graph;
    private final Engine engine;
    private final Preprocessing preprocessing;

    /** An embedder of a bundle by an engine that has loaded this graph of it. */
    public Embedder(Bundle bundle, Graph graph, Engine engine) {
        this.bundle = bundle;
        this.graph = graph;
        this.engine = engine;
        preprocessing = bundle.manifest.preprocessing;
    }

    /**
     * One unit vector per picture, in order.
     *
     * @throws CompatError.VectorError the model gave NaN, infinity or zeros.
     * @throws BundleError the graph failed, or gave another shape than the manifest says.
     */
    public Embeddings embed(Picture... pictures) {
        return embedPixels(Arrays.stream(pictures).map(preprocessing::toPixels).collect(Collectors.toList()));
    }

    /** The same of pixels that {@link Preprocessing#toPixels} made. */
    public Embeddings embedPixels(List<byte[]> pixels) {
        int dim = bundle.manifest.dim;
        int batch = graph.batch == null ? 1 : graph.batch;
        float[] vectors = new float[pixels.size() * dim];
        for (int first = 0; first < pixels.size(); first += batch) {
            float[] values = null;
            for (int row = 0; row < batch; row += 1) {
                // The last batch is filled up with its last row.
                byte[] one = pixels.get(Math.min(first + row, pixels.size() - 1));
                float[] input = preprocessing.toInput(one, graph);
                values = values == null ? new float[batch * input.length] : values;
                System.arraycopy(input, 0, values, row * input.length, input.length);
            }
            int rows = Math.min(batch, pixels.size() - first);
            System.arraycopy(run(values, batch), 0, vectors, first * dim, rows * dim);
        }
        Embeddings.normalise(vectors, dim);
        return new Embeddings(vectors, dim, bundle.manifest.space, bundle.manifest.searches);
    }

    private float[] run(float[] values, int batch) {
        int size = preprocessing.size;
        boolean last = graph.layout.equals("nhwc");
        int[] shape = last ? new int[] {batch, size, size, 3} : new int[] {batch, 3, size, size};
        Tensor found;
        try {
            found = engine.run(new Tensor(shape, values));
        } catch (CompatError error) {
            throw error;
        } catch (RuntimeException error) {
            throw new BundleError(engine.name() + " failed on input " + Arrays.toString(shape) + ": " + error, error);
        }
        int[] wanted = {batch, bundle.manifest.dim};
        if (!Arrays.equals(found.shape, wanted) || found.values.length != batch * bundle.manifest.dim) {
            throw new BundleError(engine.name() + " gave " + Arrays.toString(found.shape) + ", expected "
                    + Arrays.toString(wanted) + "; the manifest of " + bundle.path + " does not fit its graph", null);
        }
        return found.values;
    }

    /**
     * Embed the golden pictures here, from their bytes, and compare pixels, inputs and vectors with the trained model's.
     *
     * @param decoder reads the pictures; null begins at their pixels, where the platform decodes none.
     * @return the worst cosine, 1 at best.
     * @throws CheckFailedError one of them differs by more than the graph's precision allows.
     */
    public double selfTest(Decoder decoder) {
        Golden golden = bundle.golden();
        List<byte[]> pixels = new ArrayList<>(golden.images);
        for (int row = 0; row < pixels.size(); row += 1) {
            golden.compareInput(row, preprocessing.toInput(pixels.get(row), graph), graph.layout);
            if (decoder != null && row < golden.pictures.size()) {
                byte[] file = bundle.read(golden.pictures.get(row));
                pixels.set(row, preprocessing.toPixels(decoder.decode(file, preprocessing)));
                golden.comparePixels(row, pixels.get(row));
            }
        }
        double[] cosines = golden.cosines(embedPixels(pixels));
        double worst = Arrays.stream(cosines).min().orElse(Double.NaN);
        double bound = Golden.minCosine(graph);
        if (!(worst >= bound)) {
            throw new CheckFailedError(engine.name() + " turns a golden row of " + bundle.path + " into a vector with cosine "
                    + worst + " to the trained model's, expected at least " + bound + "; use another engine");
        }
        for (int order = 0; golden.comparesOrders(bound) && order < OTHER_ORDERS.length; order += 1) {
            golden.compareOrder(cosines, golden.cosines(embedPixels(reordered(golden, OTHER_ORDERS[order]))));
        }
        return worst;
    }

    private static List<byte[]> reordered(Golden golden, int[] order) {
        List<byte[]> found = new ArrayList<>();
        for (byte[] row : golden.images.subList(0, golden.pictures.size())) {
            byte[] mixed = new byte[row.length];
            for (int at = 0; at < row.length; at += 1) {
                mixed[at] = row[at - at % 3 + order[at % 3]];
            }
            found.add(mixed);
        }
        return found;
    }
}
