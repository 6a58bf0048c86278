package compatsdk;

import static compatsdk.Fields.expect;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What is done to an image before a model sees it, as a manifest says it. */
public final class Preprocessing {
    private static final List<String> FIELDS =
            Arrays.asList("size", "fit", "resize", "draft", "mean", "std", "channels");
    private static final double[] OF_PIXELS = {1 / 255.0, 1 / 255.0, 1 / 255.0};

    /** Side of the square input, in pixels. */
    public final int size;

    final String fit;
    final String resize;
    final int draft;
    final double crop;
    final double[] mean;
    final double[] std;
    final String channels;

    private Preprocessing(Fields of) {
        size = (int) of.integer("size", 1, 4096);
        draft = (int) of.integer("draft", 0, 64);
        fit = of.oneOf("fit", "crop", "stretch");
        resize = of.oneOf("resize", "box", "bilinear", "bicubic", "lanczos");
        channels = of.oneOf("channels", "rgb", "bgr");
        crop = of.has("crop") ? of.number("crop", Double.MIN_VALUE, 1) : 1;
        mean = three(of, "mean", -Double.MAX_VALUE);
        std = three(of, "std", Double.MIN_VALUE);
    }

    private Preprocessing(Preprocessing of) {
        size = of.size;
        draft = of.draft;
        fit = of.fit;
        resize = of.resize;
        crop = of.crop;
        channels = "rgb";
        mean = new double[3];
        std = OF_PIXELS;
    }

    /**
     * The preprocessing of parsed JSON.
     *
     * @throws CompatError.ConfigError a field is missing, unknown, of the wrong type or out of its range.
     */
    static Preprocessing of(Object value, String what) {
        return new Preprocessing(Fields.of(value, what, FIELDS, "crop"));
    }

    private static double[] three(Fields of, String name, double low) {
        List<?> found = of.list(name);
        boolean fits = found.size() == 3 && found.stream().allMatch(one -> Fields.isNumber(one) && numberOf(one) >= low);
        expect(fits, name, found, "three numbers of at least " + low);
        return found.stream().mapToDouble(Preprocessing::numberOf).toArray();
    }

    private static double numberOf(Object value) {
        return Fields.numberOf(value) + 0.0; // in a comparison -0.0 is 0.0
    }

    /** What is left to do for a graph that has mean, deviation and channel order inside. */
    Preprocessing insideGraph() {
        return new Preprocessing(this);
    }

    /** What a client does for a graph. */
    Preprocessing clientPart(Graph graph) {
        return graph.values.equals("pixels") ? insideGraph() : this;
    }

    boolean sameAs(Preprocessing other) {
        boolean sides = size == other.size && draft == other.draft && crop == other.crop && fit.equals(other.fit);
        boolean values = Arrays.equals(mean, other.mean) && Arrays.equals(std, other.std);
        return sides && values && resize.equals(other.resize) && channels.equals(other.channels);
    }

    /** How an identity has a preprocessing: its numbers are floats there, and a crop of 1 is left out. */
    static Map<String, Object> canonical(Map<String, Object> given) {
        Map<String, Object> found = new LinkedHashMap<>(given);
        for (String name : Arrays.asList("mean", "std")) {
            found.put(name, Arrays.asList(((List<?>) given.get(name)).stream().map(Fields::numberOf).toArray()));
        }
        found.remove("crop");
        if (given.containsKey("crop") && Fields.numberOf(given.get("crop")) != 1) {
            found.put("crop", Fields.numberOf(given.get("crop")));
        }
        return found;
    }

    /**
     * By how much a JPEG of this size may be scaled down while it is decoded: 1, 2, 4 or 8.
     *
     * <p>The trained model saw JPEGs decoded so. Android's BitmapFactory does the same for {@code inSampleSize}.
     */
    public int draftScale(int width, int height) {
        int least = (int) Math.ceil(draft * size / crop);
        int room = draft == 0 ? 1 : Math.min(width / least, height / least);
        return room >= 8 ? 8 : room >= 4 ? 4 : room >= 2 ? 2 : 1;
    }

    /** A picture as the pixels that a model sees: size * size * 3 bytes, RGB. */
    public byte[] toPixels(Picture picture) {
        byte[] data = picture.rgb();
        if (picture.width == size && picture.height == size && picture.channels == 3) {
            return data;
        }
        double keptWidth = picture.width * crop;
        double keptHeight = picture.height * crop;
        if (fit.equals("crop")) {
            keptWidth = keptHeight = Math.min(keptWidth, keptHeight);
        }
        double left = (picture.width - keptWidth) / 2;
        double top = (picture.height - keptHeight) / 2;
        boolean across = left != 0 || keptWidth != picture.width || picture.width != size;
        boolean down = top != 0 || keptHeight != picture.height || picture.height != size;
        if (across) { // the rows first: the two orders round apart
            Resize rows = new Resize(resize, picture.width, left, left + keptWidth, size);
            data = rows.rows(data, picture.height);
        }
        if (down) {
            data = new Resize(resize, picture.height, top, top + keptHeight, size).columns(data, size);
        }
        return data;
    }

    /**
     * Pixels as what a graph is given: {@code (pixel / 255 - mean) / std}, 1 x 3 x size x size or as its layout says.
     *
     * @param pixels what {@link #toPixels} made.
     * @param graph whose layout and values count.
     * @throws CompatError.ImageError the pixels have another length.
     */
    public float[] toInput(byte[] pixels, Graph graph) {
        Preprocessing part = clientPart(graph);
        int area = size * size;
        if (pixels.length != 3 * area) {
            throw new CompatError.ImageError(
                    "pixels are " + pixels.length + " bytes; expected " + size + " x " + size + " x 3");
        }
        boolean asTheyAre = part.channels.equals("rgb") && Arrays.equals(part.mean, new double[3]);
        asTheyAre = asTheyAre && Arrays.equals(part.std, OF_PIXELS);
        boolean last = graph.layout.equals("nhwc");
        float[] input = new float[pixels.length];
        for (int channel = 0; channel < 3; channel += 1) {
            float[] line = new float[256];
            for (int level = 0; level < 256; level += 1) {
                float prepared = (level / 255f - (float) part.mean[channel]) / (float) part.std[channel];
                line[level] = asTheyAre ? level : prepared;
            }
            int place = part.channels.equals("rgb") ? channel : 2 - channel;
            for (int pixel = 0; pixel < area; pixel += 1) {
                int to = last ? 3 * pixel + place : place * area + pixel;
                input[to] = line[pixels[3 * pixel + channel] & 255];
            }
        }
        return input;
    }
}
