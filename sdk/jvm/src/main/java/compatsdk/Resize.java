package compatsdk;

import java.util.Arrays;

/** One pass of Pillow's resize: where each new pixel begins to look, and how much it takes of each pixel from there. */
final class Resize {
    private static final int BITS = 22; // of a weight's fraction, as in Pillow

    private final int side;
    private final int count;
    private final int[] starts;
    private final int[][] weights;

    /** A line of {@code side} pixels, of which the part between two places becomes {@code count} pixels. */
    Resize(String kernel, int side, double from, double to, int count) {
        this.side = side;
        this.count = count;
        starts = new int[count];
        weights = new int[count][];
        double start = (float) from; // Pillow hands a box on as float32
        double kept = (float) ((float) to - start);
        double scale = kept / count;
        double wide = Math.max(scale, 1);
        double reach = reach(kernel) * wide;
        for (int place = 0; place < count; place += 1) {
            double centre = start + (place + 0.5) * scale;
            starts[place] = Math.max(0, (int) (centre - reach + 0.5));
            double[] found = new double[Math.min(side, (int) (centre + reach + 0.5)) - starts[place]];
            for (int at = 0; at < found.length; at += 1) {
                found[at] = weight(kernel, (starts[place] + at - centre + 0.5) * (1 / wide));
            }
            double sum = 0;
            for (double one : found) {
                sum += one;
            }
            double whole = sum == 0 ? 1 : sum;
            weights[place] = Arrays.stream(found).mapToInt(one -> fixed(one / whole)).toArray();
        }
    }

    /** RGB with each of its {@code height} rows made anew. */
    byte[] rows(byte[] data, int height) {
        byte[] found = new byte[3 * count * height];
        for (int line = 0; line < height; line += 1) {
            for (int place = 0; place < count; place += 1) {
                pixel(data, 3 * (line * side + starts[place]), 3, weights[place], found, 3 * (line * count + place));
            }
        }
        return found;
    }

    /** RGB with each of its {@code width} columns made anew. */
    byte[] columns(byte[] data, int width) {
        byte[] found = new byte[3 * count * width];
        for (int place = 0; place < count; place += 1) {
            for (int line = 0; line < width; line += 1) {
                int from = 3 * (starts[place] * width + line);
                pixel(data, from, 3 * width, weights[place], found, 3 * (place * width + line));
            }
        }
        return found;
    }

    private static void pixel(byte[] data, int from, int step, int[] weights, byte[] out, int to) {
        int red = 1 << BITS - 1;
        int green = red;
        int blue = red;
        int at = from;
        for (int weight : weights) {
            red += (data[at] & 255) * weight;
            green += (data[at + 1] & 255) * weight;
            blue += (data[at + 2] & 255) * weight;
            at += step;
        }
        out[to] = level(red);
        out[to + 1] = level(green);
        out[to + 2] = level(blue);
    }

    private static byte level(int sum) {
        return (byte) Math.min(255, Math.max(0, sum >> BITS));
    }

    private static int fixed(double weight) {
        return (int) (weight * (1 << BITS) + (weight < 0 ? -0.5 : 0.5));
    }

    private static double reach(String kernel) {
        return kernel.equals("box") ? 0.5 : kernel.equals("bilinear") ? 1 : kernel.equals("bicubic") ? 2 : 3;
    }

    private static double weight(String kernel, double x) {
        double far = Math.abs(x);
        switch (kernel) {
            case "box":
                return x > -0.5 && x <= 0.5 ? 1 : 0;
            case "bilinear":
                return Math.max(0, 1 - far);
            case "bicubic":
                return far < 1 ? (1.5 * far - 2.5) * far * far + 1 : far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0;
            default:
                return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
        }
    }

    private static double sinc(double x) {
        return x == 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
    }
}
