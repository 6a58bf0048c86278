package compatsdk;

/**
 * What runs a bundle's graph. The library has none: examples/android has adapters of LiteRT and ONNX Runtime.
 *
 * <p>An adapter is given the bytes of a graph that was verified, {@link Bundle#read}, and never a path.
 */
public interface Engine {
    /** Its name, for messages. */
    String name();

    /**
     * Runs the graph.
     *
     * @param images float32, n x 3 x size x size or n x size x size x 3, as the graph's layout says.
     * @return float32 n x dim.
     */
    Tensor run(Tensor images);
}
