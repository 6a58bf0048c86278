package compatsdk;

/** A decoded, upright picture. */
public final class Picture {
    private static final long MOST_PIXELS = 178_956_970; // as in Python

    final byte[] data;
    final int width;
    final int height;
    final int channels;

    /**
     * Takes decoded pixels; they are kept, not copied.
     *
     * @param data row by row, {@code channels} bytes a pixel.
     * @param width pixels, at least 1.
     * @param height pixels, at least 1.
     * @param channels 1 for grey, 3 for RGB, 4 for RGBA (not premultiplied), which is laid on white.
     * @throws CompatError.ImageError the data have another length, or are of no such kind.
     */
    public Picture(byte[] data, int width, int height, int channels) {
        boolean sized = width >= 1 && height >= 1 && (channels == 1 || channels == 3 || channels == 4);
        sized = sized && (long) width * height <= MOST_PIXELS;
        if (!sized || data.length != width * height * channels) {
            throw new CompatError.ImageError("a picture has " + data.length + " bytes for " + width + " x " + height
                    + " pixels of " + channels + " channels; expected 1, 3 or 4 bytes a pixel, at most "
                    + MOST_PIXELS + " pixels");
        }
        this.data = data;
        this.width = width;
        this.height = height;
        this.channels = channels;
    }

    /** Of the colours that Android's Bitmap.getPixels and Java's BufferedImage.getRGB give: 0xAARRGGBB, row by row. */
    public static Picture ofArgb(int[] colours, int width, int height) {
        byte[] data = new byte[Math.multiplyExact(4, colours.length)];
        for (int pixel = 0; pixel < colours.length; pixel += 1) {
            data[4 * pixel] = (byte) (colours[pixel] >> 16);
            data[4 * pixel + 1] = (byte) (colours[pixel] >> 8);
            data[4 * pixel + 2] = (byte) colours[pixel];
            data[4 * pixel + 3] = (byte) (colours[pixel] >> 24);
        }
        return new Picture(data, width, height, 4);
    }

    /** The pixels as RGB, 3 bytes each; transparency is laid on white, in Pillow's arithmetic. */
    byte[] rgb() {
        if (channels == 3) {
            return data;
        }
        byte[] found = new byte[Math.multiplyExact(3, width * height)];
        for (int from = 0, to = 0; to < found.length; from += channels, to += 3) {
            int white = channels == 4 ? (255 - (data[from + 3] & 255)) * 128 : 0;
            for (int one = 0; one < 3; one += 1) {
                int value = data[channels == 1 ? from : from + one] & 255;
                int sum = white * 255 + value * (255 * 128 - white) + 0x4000;
                found[to + one] = (byte) (white == 0 ? value : ((sum >> 8) + sum) >> 8 >> 7);
            }
        }
        return found;
    }
}
