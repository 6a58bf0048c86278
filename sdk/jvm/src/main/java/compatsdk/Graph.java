package compatsdk;

import static compatsdk.Fields.expect;

import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/** One exported form of a bundle's model. */
public final class Graph {
    static final Pattern WORD = Pattern.compile("[A-Za-z0-9._-]{1,120}");

    /** Format, such as {@code onnx} or {@code tflite}. */
    public final String target;

    /** Of the weights, such as {@code fp32}. */
    public final String precision;

    /** Name inside the bundle. */
    public final String file;

    /** Names of the graph's inputs: one, the image's. */
    public final List<?> inputs;

    /** Name of the graph's output, float32 [n, dim]. */
    public final String output;

    /** The one number of images that the graph takes, or null for any. */
    public final Integer batch;

    /** Order of an image's axes: {@code nchw} or {@code nhwc}. */
    public final String layout;

    /** {@code prepared}, or {@code pixels} where the graph does mean, deviation and channel order itself. */
    public final String values;

    final Double minCosine;

    Graph(Object value, Map<String, Object> files) {
        List<String> needed = Arrays.asList("target", "precision", "file", "inputs");
        Fields of = Fields.of(value, "a graph", needed, "output", "batch", "layout", "values", "min_cosine");
        target = of.text("target", WORD, "a word");
        precision = of.text("precision", WORD, "a word");
        file = Names.checkFile(of.get("file"));
        inputs = of.list("inputs");
        expect(!inputs.isEmpty() && new HashSet<>(inputs).size() == inputs.size(), "inputs", inputs, "names, each once");
        expect(inputs.stream().allMatch(one -> one instanceof String && !one.equals("")), "inputs", inputs, "names");
        output = of.has("output") ? of.text("output") : "embedding";
        expect(!output.isEmpty(), "output", output, "a name");
        batch = of.get("batch") == null ? null : (Integer) (int) of.integer("batch", 1, 1024);
        layout = of.has("layout") ? of.oneOf("layout", "nchw", "nhwc") : "nchw";
        values = of.has("values") ? of.oneOf("values", "prepared", "pixels") : "prepared";
        Object least = of.get("min_cosine");
        expect(least == null || least instanceof Double, "min_cosine", least, "-1.0 to 1.0, or none");
        minCosine = least == null ? null : (Double) of.number("min_cosine", -1, 1);
        boolean there = files.keySet().stream().anyMatch(name -> name.equals(file) || name.startsWith(file + "/"));
        expect(there, "a graph's file", file, "one of the bundle's files");
    }
}
