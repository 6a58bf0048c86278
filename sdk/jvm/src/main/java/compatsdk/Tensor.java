package compatsdk;

/** What goes into an engine and comes out of it: float32 numbers and their shape. */
public final class Tensor {
    /** Sizes of the axes. */
    public final int[] shape;

    /** All numbers, the last axis fastest. */
    public final float[] values;

    /** Keeps both, without a copy. */
    public Tensor(int[] shape, float[] values) {
        this.shape = shape;
        this.values = values;
    }
}
