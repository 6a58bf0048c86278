package compatsdk;

import compatsdk.CompatError.BundleError;
import compatsdk.CompatError.CheckFailedError;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Golden files: a few pictures inside each bundle, and what the trained model makes of them; see bundle/golden.py. */
final class Golden {
    static final String PICTURES = "golden/pictures/";
    private static final Map<String, Double> MIN_COSINE = new HashMap<>();
    private static final double BOUND = 0.999;
    private static final int MOST_PICTURES = 16;
    private static final double INPUT_OFF = 2e-5;
    private static final double BETTER = 0.75;

    static {
        MIN_COSINE.put("int8", 0.99);
        MIN_COSINE.put("palette8", 0.99);
        MIN_COSINE.put("palette6", 0.97);
        MIN_COSINE.put("int8-static", 0.9);
        MIN_COSINE.put("int4", 0.9);
        MIN_COSINE.put("palette4", 0.9);
    }

    /** Names of the pictures, in the order of their rows; the first rows are theirs. */
    final List<String> pictures;

    /** Pixels of each row, size * size * 3. */
    final List<byte[]> images = new ArrayList<>();

    private final float[] inputs;
    private final float[] embeddings;
    private final int dim;

    /**
     * The golden files of a bundle of a model of images.
     *
     * @throws BundleError they do not fit the manifest.
     */
    Golden(Bundle bundle) {
        dim = bundle.manifest.dim;
        int size = bundle.manifest.preprocessing.size;
        pictures = pictureNames(bundle.manifest);
        byte[] content = bundle.read("golden/images.npy");
        Npy found = array(content, "images", "|u1", -1, size, size, 3);
        int rows = found.shape[0];
        if (rows == 0 || rows < pictures.size()) {
            throw new BundleError(pictures.size() + " golden pictures and " + rows + " images; export it again", null);
        }
        int bytes = size * size * 3;
        for (int row = 0; row < rows; row += 1) {
            int from = found.start + row * bytes;
            images.add(Arrays.copyOfRange(content, from, from + bytes));
        }
        inputs = pictures.isEmpty() ? null : numbers(bundle.read("golden/inputs.npy"), "inputs", rows, 3, 2);
        embeddings = numbers(bundle.read("golden/embeddings.npy"), "embeddings", rows, dim);
    }

    private static List<String> pictureNames(Manifest manifest) {
        List<String> names = new ArrayList<>(manifest.files.keySet());
        names.removeIf(name -> !name.startsWith(PICTURES));
        names.sort(null);
        for (int row = 0; row < names.size(); row += 1) {
            String wanted = PICTURES + (row < 10 ? "0" : "") + row;
            String name = names.get(row);
            if (row >= MOST_PICTURES || !(name.equals(wanted + ".jpg") || name.equals(wanted + ".png"))) {
                throw new BundleError("a golden picture is " + name + "; expected 00.jpg or 00.png and so on", null);
            }
        }
        return names;
    }

    private static Npy array(byte[] content, String name, String type, int... shape) {
        Npy found = new Npy(ByteBuffer.wrap(content), content.length, "golden/" + name + ".npy");
        boolean fits = found.type.equals(type) && found.shape.length == shape.length;
        for (int axis = 0; fits && axis < shape.length; axis += 1) {
            fits = shape[axis] < 0 || shape[axis] == found.shape[axis];
        }
        if (!fits) {
            String wanted = type + " " + Arrays.toString(shape);
            throw new BundleError("golden " + name + " are " + found + ", expected " + wanted + "; export it again", null);
        }
        return found;
    }

    private static float[] numbers(byte[] content, String name, int... shape) {
        float[] found = array(content, name, "<f4", shape).floats(ByteBuffer.wrap(content));
        for (float one : found) {
            if (Float.isNaN(one) || Float.isInfinite(one)) {
                throw new BundleError("golden " + name + " hold NaN or infinity; export the model again", null);
            }
        }
        return found;
    }

    /** Smallest cosine that a graph is held to. */
    static double minCosine(Graph graph) {
        return graph.minCosine != null ? graph.minCosine : MIN_COSINE.getOrDefault(graph.precision, BOUND);
    }

    /** Compare what a picture becomes here with what it became for the trained model. */
    void comparePixels(int row, byte[] found) {
        boolean lossy = pictures.get(row).endsWith(".jpg");
        int most = 0;
        double sum = 0;
        for (int at = 0; at < found.length; at += 1) {
            int off = Math.abs((found[at] & 255) - (images.get(row)[at] & 255));
            most = Math.max(most, off);
            sum += off;
        }
        if (most > (lossy ? 4 : 1) || sum / found.length > (lossy ? 0.5 : 0.05)) {
            throw new CheckFailedError(pictures.get(row) + " becomes pixels that differ from the trained model's by up to "
                    + most + " levels, " + (float) sum / found.length + " in the mean: it is decoded otherwise here");
        }
    }

    /** Compare mean and deviation of each channel of one graph input with those of the trained model's. */
    void compareInput(int row, float[] input, String layout) {
        double largest = 0;
        for (int at = 0; inputs != null && at < inputs.length; at += 1) {
            largest = Math.max(largest, Math.abs(inputs[at]));
        }
        int area = input.length / 3;
        for (int channel = 0; inputs != null && channel < 3; channel += 1) {
            int start = layout.equals("nhwc") ? channel : channel * area;
            int step = layout.equals("nhwc") ? 3 : 1;
            double sum = 0;
            for (int pixel = 0; pixel < area; pixel += 1) {
                sum += input[start + pixel * step];
            }
            double squares = 0;
            for (int pixel = 0; pixel < area; pixel += 1) {
                squares += Math.pow(input[start + pixel * step] - sum / area, 2);
            }
            double off = Math.abs(sum / area - inputs[6 * row + 2 * channel]);
            off = Math.max(off, Math.abs(Math.sqrt(squares / area) - inputs[6 * row + 2 * channel + 1]));
            if (!(off <= INPUT_OFF * largest)) {
                throw new CheckFailedError("golden images become an input whose mean or deviation differs from the "
                        + "trained model's by " + off + "; export the model again");
            }
        }
    }

    /** Cosine of each row to the trained model's vector. */
    double[] cosines(Embeddings found) {
        double[] cosines = new double[found.size()];
        for (int row = 0; row < cosines.length; row += 1) {
            for (int at = row * dim; at < (row + 1) * dim; at += 1) {
                cosines[row] += (double) found.vectors[at] * embeddings[at];
            }
            double length = Embeddings.length(embeddings, row * dim, dim);
            cosines[row] /= length == 0 ? 1 : length;
        }
        return cosines;
    }

    /** Whether a graph has to do best with the channels as they are: a low bound lets mixed-up colours through. */
    boolean comparesOrders(double bound) {
        return bound < BOUND && !pictures.isEmpty();
    }

    /** Refuse a graph that does better with the channels of the golden pictures in another order. */
    void compareOrder(double[] right, double[] other) {
        double rightError = 1 - Arrays.stream(right).limit(pictures.size()).average().orElse(1);
        double otherError = 1 - Arrays.stream(other).limit(pictures.size()).average().orElse(1);
        if (otherError < BETTER * rightError) {
            throw new CheckFailedError("golden pictures with their channels in another order come closer to the trained "
                    + "model's vectors than as they are; export the model again");
        }
    }
}
