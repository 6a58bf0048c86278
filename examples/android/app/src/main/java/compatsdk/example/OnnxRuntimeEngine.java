package compatsdk.example;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import compatsdk.Engine;
import compatsdk.Graph;
import compatsdk.Tensor;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Collections;

/** Runs a bundle's {@code onnx} graph by ONNX Runtime. */
final class OnnxRuntimeEngine implements Engine, AutoCloseable {
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final Graph graph;

    /** Loads a graph, the bytes that {@code Bundle.read} gave. */
    OnnxRuntimeEngine(Graph graph, byte[] content, int threads) {
        this.graph = graph;
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(threads);
            session = environment.createSession(content, options);
        } catch (OrtException error) {
            throw new IllegalStateException("ONNX Runtime cannot load the graph", error);
        }
    }

    @Override
    public String name() {
        return "ONNX Runtime";
    }

    @Override
    public Tensor run(Tensor images) {
        long[] shape = Arrays.stream(images.shape).asLongStream().toArray();
        try (OnnxTensor given = OnnxTensor.createTensor(environment, FloatBuffer.wrap(images.values), shape);
                OrtSession.Result results = session.run(
                        Collections.singletonMap((String) graph.inputs.get(0), given),
                        Collections.singleton(graph.output))) {
            OnnxTensor found = (OnnxTensor) results.get(0);
            FloatBuffer numbers = found.getFloatBuffer(); // a copy, or null where they are no floats
            if (numbers == null) {
                throw new IllegalStateException("the graph gives " + found.getInfo() + ", expected float32");
            }
            float[] values = new float[numbers.remaining()];
            numbers.get(values);
            int[] axes = Arrays.stream(found.getInfo().getShape()).mapToInt(Math::toIntExact).toArray();
            return new Tensor(axes, values);
        } catch (OrtException error) {
            throw new IllegalStateException(error.getMessage(), error);
        }
    }

    @Override
    public void close() {
        try {
            session.close();
        } catch (OrtException error) {
            throw new IllegalStateException(error.getMessage(), error);
        }
    }
}
