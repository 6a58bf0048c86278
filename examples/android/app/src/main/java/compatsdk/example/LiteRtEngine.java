package compatsdk.example;

import compatsdk.Engine;
import compatsdk.Tensor;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Interpreter;

/** Runs a bundle's {@code tflite} graph by LiteRT, the successor of TensorFlow Lite. */
final class LiteRtEngine implements Engine, AutoCloseable {
    private final ByteBuffer model; // the interpreter reads it as long as it lives
    private final Interpreter interpreter;

    /** Loads a graph, the bytes that {@code Bundle.read} gave. */
    LiteRtEngine(byte[] graph, int threads) {
        model = direct(graph.length);
        model.duplicate().put(graph); // which leaves the place of the original at its beginning
        interpreter = new Interpreter(model, new Interpreter.Options().setNumThreads(threads));
    }

    @Override
    public String name() {
        return "LiteRT";
    }

    @Override
    public synchronized Tensor run(Tensor images) {
        org.tensorflow.lite.Tensor input = interpreter.getInputTensor(0);
        org.tensorflow.lite.Tensor output = interpreter.getOutputTensor(0);
        // LiteRT would take any bytes of the right number.
        if (!Arrays.equals(input.shape(), images.shape) || input.dataType() != DataType.FLOAT32) {
            throw new IllegalArgumentException("the graph takes " + input.dataType() + " " + Arrays.toString(input.shape()));
        }
        if (output.dataType() != DataType.FLOAT32) {
            throw new IllegalArgumentException("the graph gives " + output.dataType() + ", expected FLOAT32");
        }
        ByteBuffer given = direct(4 * images.values.length);
        given.asFloatBuffer().put(images.values);
        ByteBuffer found = direct(output.numBytes());
        FloatBuffer numbers = found.asFloatBuffer(); // from its beginning, wherever the interpreter leaves it
        interpreter.run(given, found);
        float[] values = new float[output.numElements()];
        numbers.get(values);
        return new Tensor(output.shape(), values);
    }

    @Override
    public synchronized void close() {
        interpreter.close();
    }

    private static ByteBuffer direct(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
    }
}
