package compatsdk;

import compatsdk.CompatError.CorruptFileError;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The header of an array in numpy's .npy format, versions 1 to 3: the types that bundles and galleries hold, by rows. */
final class Npy {
    static final Map<String, Integer> SIZES = new HashMap<>();
    private static final Pattern HEADER = Pattern.compile(
            "\\{'descr': '([^']{1,8})', 'fortran_order': (False|True), "
                    + "'shape': \\(([0-9]{1,9}(?:, ?[0-9]{1,9})*),?\\), \\}\\s*");

    static {
        SIZES.put("|u1", 1);
        SIZES.put("|i1", 1);
        SIZES.put("<f2", 2);
        SIZES.put("<f4", 4);
    }

    /** As numpy has it, such as {@code <f4}. */
    final String type;

    final int[] shape;

    /** Where the numbers begin, in bytes. */
    final int start;

    /**
     * Reads the header at the beginning of a file's content.
     *
     * @param content all of it, or a part that holds the header.
     * @param bytes how many there are in all.
     * @throws CorruptFileError it is no such array, or is cut.
     */
    Npy(ByteBuffer content, long bytes, String name) {
        ByteBuffer head = content.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        if (bytes < 12 || head.getInt(0) != 0x4d554e93 || head.getShort(4) != 0x5950) {
            throw refused(name, "it is none");
        }
        int version = head.get(6);
        start = version == 1 ? 10 + (head.getShort(8) & 0xffff) : 12 + Math.min(head.getInt(8) & 0x7fffffff, 1 << 16);
        if (version < 1 || version > 3 || start > head.limit()) {
            throw refused(name, "its header is cut or of another version");
        }
        byte[] text = new byte[start - (version == 1 ? 10 : 12)];
        Rows.seek(head, start - text.length);
        head.get(text);
        Matcher header = HEADER.matcher(new String(text, StandardCharsets.ISO_8859_1));
        if (!header.matches() || !SIZES.containsKey(header.group(1))) {
            throw refused(name, "its header says " + Fields.shown(new String(text, StandardCharsets.ISO_8859_1)));
        }
        type = header.group(1);
        shape = Arrays.stream(header.group(3).split(", ?")).mapToInt(Integer::parseInt).toArray();
        long whole = SIZES.get(type);
        for (int axis : shape) {
            whole = axis == 0 || whole <= bytes / axis ? whole * axis : Long.MAX_VALUE;
        }
        if (whole > bytes - start || (header.group(2).equals("True") && shape.length > 1)) {
            throw refused(name, "it is cut, or lies column by column");
        }
    }

    private static CorruptFileError refused(String name, String why) {
        return new CorruptFileError(name + " is no readable .npy file (" + why + "); restore it from its source", null);
    }

    @Override
    public String toString() {
        return type + " " + Arrays.toString(shape);
    }

    /** All numbers of a small array of {@code |u1} or {@code <f4}. */
    float[] floats(ByteBuffer content) {
        ByteBuffer numbers = content.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        Rows.seek(numbers, start);
        float[] found = new float[Arrays.stream(shape).reduce(1, (one, other) -> one * other)];
        for (int at = 0; at < found.length; at += 1) {
            found[at] = type.equals("<f4") ? numbers.getFloat() : numbers.get() & 255;
        }
        return found;
    }
}
