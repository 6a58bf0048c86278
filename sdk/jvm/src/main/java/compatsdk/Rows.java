package compatsdk;

import compatsdk.CompatError.GalleryError;
import java.io.IOException;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.ShortBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A run of a gallery's rows, mapped as they are stored, and scored without a copy of more than a block of them.
 *
 * <p>Of float16 and int8 the length of each row is kept beside it, 4 bytes a row. A block is copied into an array before
 * it is scored: Android reads arrays several times faster than mapped memory.
 */
abstract class Rows {
    static final int BLOCK = 256;
    private static final int LARGEST_MAP = 1 << 30;

    final int count;
    final int dim;

    /** One over the length of each row; null where rows have unit length as they are. */
    private final float[] scale;

    private Rows(int count, int dim, boolean unit) {
        this.count = count;
        this.dim = dim;
        scale = unit ? null : new float[count];
    }

    /**
     * Maps the rows of a file that was compared with its digest, and looks at each of them once.
     *
     * @throws GalleryError it holds no such array, or a row that no index may see.
     */
    static List<Rows> map(Path path, int rows, int dim, String dtype) throws IOException {
        try (FileChannel file = FileChannel.open(path)) {
            ByteBuffer head = file.map(MapMode.READ_ONLY, 0, Math.min(file.size(), 1 << 17));
            Npy found = new Npy(head, file.size(), path.toString());
            String type = dtype.equals("float32") ? "<f4" : dtype.equals("float16") ? "<f2" : "|i1";
            if (!found.type.equals(type) || !Arrays.equals(found.shape, new int[] {rows, dim})) {
                throw new GalleryError(path + " holds " + found + ", expected " + dtype + " " + rows + " x " + dim, null);
            }
            long width = (long) Npy.SIZES.get(type) * dim;
            int most = (int) (LARGEST_MAP / width);
            List<Rows> parts = new ArrayList<>();
            for (int first = 0; first < rows; first += most) {
                int count = Math.min(most, rows - first);
                ByteBuffer data = file.map(MapMode.READ_ONLY, found.start + first * width, count * width);
                data.order(ByteOrder.LITTLE_ENDIAN);
                Rows part = type.equals("<f4") ? new Floats(data, count, dim)
                        : type.equals("<f2") ? new Halves(data, count, dim) : new Bytes(data, count, dim);
                part.measure(path, first);
                parts.add(part);
            }
            return parts;
        }
    }

    private void measure(Path path, int first) {
        float[] numbers = new float[BLOCK * dim];
        for (int row = 0; row < count; row += 1) {
            if (row % BLOCK == 0) {
                numbers(row, Math.min(BLOCK, count - row), numbers);
            }
            double length = Embeddings.length(numbers, row % BLOCK * dim, dim);
            if (scale == null ? !Embeddings.isUnit(length) : !Embeddings.isDirected(length)) {
                throw new GalleryError("row " + (first + row) + " of " + path + " is no vector that an index may see", null);
            }
            if (scale != null) {
                scale[row] = (float) (1 / length);
            }
        }
    }

    /** Copies the numbers of consecutive rows, as they are stored. */
    abstract void numbers(int first, int rows, float[] out);

    /** What one thread scores its rows with. */
    abstract Scorer scorer(float[] query);

    /** Scores consecutive rows, at most {@link #BLOCK}. */
    interface Scorer {
        void score(int first, int rows, float[] out);
    }

    // One loop a type, so that each is compiled for one kind of array. Four sums let the processor add side by side, and equal
    // rows have equal scores wherever they lie.

    private static final class Floats extends Rows {
        private final FloatBuffer data;

        Floats(ByteBuffer data, int count, int dim) {
            super(count, dim, true);
            this.data = data.asFloatBuffer();
        }

        @Override
        void numbers(int first, int rows, float[] out) {
            FloatBuffer from = data.duplicate();
            seek(from, first * dim);
            from.get(out, 0, rows * dim);
        }

        @Override
        Scorer scorer(float[] query) {
            float[] block = new float[BLOCK * dim];
            return (first, rows, out) -> {
                numbers(first, rows, block);
                products(block, query, rows, out);
            };
        }

        private static void products(float[] block, float[] query, int rows, float[] out) {
            int even = query.length - query.length % 4;
            for (int row = 0, at = 0; row < rows; row += 1) {
                float a = 0;
                float b = 0;
                float c = 0;
                float d = 0;
                for (int place = 0; place < even; place += 4, at += 4) {
                    a += block[at] * query[place];
                    b += block[at + 1] * query[place + 1];
                    c += block[at + 2] * query[place + 2];
                    d += block[at + 3] * query[place + 3];
                }
                for (int place = even; place < query.length; place += 1, at += 1) {
                    a += block[at] * query[place];
                }
                out[row] = a + b + (c + d);
            }
        }
    }

    private static final class Halves extends Rows {
        /** Value of each half float; infinity is none that a gallery holds. */
        private static final float[] VALUES = new float[1 << 16];

        static {
            for (int bits = 0; bits < VALUES.length; bits += 1) {
                float value = Float.intBitsToFloat((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * 0x1p112f;
                VALUES[bits] = (bits & 0x7c00) == 0x7c00 ? Float.NaN : value;
            }
        }

        private final ShortBuffer data;

        Halves(ByteBuffer data, int count, int dim) {
            super(count, dim, false);
            this.data = data.asShortBuffer();
        }

        private void copy(int first, int rows, short[] out) {
            ShortBuffer from = data.duplicate();
            seek(from, first * dim);
            from.get(out, 0, rows * dim);
        }

        @Override
        void numbers(int first, int rows, float[] out) {
            short[] block = new short[rows * dim];
            copy(first, rows, block);
            for (int at = 0; at < block.length; at += 1) {
                out[at] = VALUES[block[at] & 0xffff];
            }
        }

        @Override
        Scorer scorer(float[] query) {
            short[] block = new short[BLOCK * dim];
            return (first, rows, out) -> {
                copy(first, rows, block);
                products(block, query, rows, out);
                scaled(first, rows, out);
            };
        }

        private static void products(short[] block, float[] query, int rows, float[] out) {
            float[] values = VALUES;
            int even = query.length - query.length % 4;
            for (int row = 0, at = 0; row < rows; row += 1) {
                float a = 0;
                float b = 0;
                float c = 0;
                float d = 0;
                for (int place = 0; place < even; place += 4, at += 4) {
                    a += values[block[at] & 0xffff] * query[place];
                    b += values[block[at + 1] & 0xffff] * query[place + 1];
                    c += values[block[at + 2] & 0xffff] * query[place + 2];
                    d += values[block[at + 3] & 0xffff] * query[place + 3];
                }
                for (int place = even; place < query.length; place += 1, at += 1) {
                    a += values[block[at] & 0xffff] * query[place];
                }
                out[row] = a + b + (c + d);
            }
        }
    }

    private static final class Bytes extends Rows {
        /** Value of each byte: a table is read faster than a number is converted. */
        private static final float[] VALUES = new float[1 << 8];

        static {
            for (int bits = 0; bits < VALUES.length; bits += 1) {
                VALUES[bits] = (byte) bits;
            }
        }

        private final ByteBuffer data;

        Bytes(ByteBuffer data, int count, int dim) {
            super(count, dim, false);
            this.data = data;
        }

        private void copy(int first, int rows, byte[] out) {
            ByteBuffer from = data.duplicate();
            seek(from, first * dim);
            from.get(out, 0, rows * dim);
        }

        @Override
        void numbers(int first, int rows, float[] out) {
            byte[] block = new byte[rows * dim];
            copy(first, rows, block);
            for (int at = 0; at < block.length; at += 1) {
                out[at] = block[at];
            }
        }

        @Override
        Scorer scorer(float[] query) {
            byte[] block = new byte[BLOCK * dim];
            return (first, rows, out) -> {
                copy(first, rows, block);
                products(block, query, rows, out);
                scaled(first, rows, out);
            };
        }

        private static void products(byte[] block, float[] query, int rows, float[] out) {
            float[] values = VALUES;
            int even = query.length - query.length % 4;
            for (int row = 0, at = 0; row < rows; row += 1) {
                float a = 0;
                float b = 0;
                float c = 0;
                float d = 0;
                for (int place = 0; place < even; place += 4, at += 4) {
                    a += values[block[at] & 255] * query[place];
                    b += values[block[at + 1] & 255] * query[place + 1];
                    c += values[block[at + 2] & 255] * query[place + 2];
                    d += values[block[at + 3] & 255] * query[place + 3];
                }
                for (int place = even; place < query.length; place += 1, at += 1) {
                    a += values[block[at] & 255] * query[place];
                }
                out[row] = a + b + (c + d);
            }
        }
    }

    /** Moves a buffer. By its base class: the overrides of later libraries are not there on Android 8. */
    static void seek(Buffer buffer, int position) {
        buffer.position(position);
    }

    final void scaled(int first, int rows, float[] out) {
        for (int row = 0; row < rows; row += 1) {
            out[row] *= scale[first + row];
        }
    }
}
