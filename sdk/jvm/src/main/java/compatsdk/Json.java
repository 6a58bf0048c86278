package compatsdk;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * JSON whose digest was taken in Python: read strictly, and written as Python writes it.
 *
 * <p>This is the one port that has a reader of its own. Java's library has none, and Android's org.json cannot serve: it
 * takes comments, repeated keys, NaN and unquoted text for JSON, and reads a number without saying whether it was 1 or
 * 1.0, on which the digest of a document depends. Values are Map, List, String, Boolean, null, Long, BigInteger beyond
 * 63 bits, and Double for what has a point or an exponent.
 */
final class Json {
    static final int LARGEST = 64 << 20;
    private static final int DEEPEST = 32;
    private static final Pattern NUMBER = Pattern.compile("-?(?:0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");
    private static final String ESCAPES = "\"\\/bfnrt";
    private static final String ESCAPED = "\"\\/\b\f\n\r\t";

    private final String text;
    private final boolean anyText;
    private final Matcher number;
    private int at;

    private Json(String text, boolean anyText) {
        this.text = text;
        this.anyText = anyText;
        this.number = NUMBER.matcher(text);
    }

    /**
     * The object in a document, refusing what two readers could understand differently.
     *
     * @throws CompatError.CorruptFileError not UTF-8, not JSON, not an object, a key twice, nested more than 32 levels,
     *     a number beyond 64 bits or float64, half of a surrogate pair, or more than 64 MiB.
     */
    static Map<String, Object> object(byte[] data, String name) {
        try {
            if (data.length > LARGEST) {
                throw new IllegalArgumentException("it has " + data.length + " bytes, expected at most " + LARGEST);
            }
            Object value = value(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString(), false);
            if (!(value instanceof Map)) {
                throw new IllegalArgumentException("it is no object");
            }
            return asObject(value);
        } catch (CharacterCodingException | IllegalArgumentException error) {
            String said = error instanceof CharacterCodingException ? "it is not UTF-8" : error.getMessage();
            String advice = "; restore it from its source";
            throw new CompatError.CorruptFileError(name + " is not valid JSON (" + said + ")" + advice, error);
        }
    }

    /**
     * The one value in a text.
     *
     * @param anyText also take text with halves of surrogate pairs, which the names of files may have.
     * @throws IllegalArgumentException it is no JSON, or what {@link #object} refuses.
     */
    static Object value(String text, boolean anyText) {
        Json reader = new Json(text, anyText);
        Object value = reader.value(0);
        reader.next();
        if (reader.at < text.length()) {
            throw reader.unexpected();
        }
        return value;
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> asObject(Object value) {
        return (Map<String, Object>) value;
    }

    /** The one text that stands for a value: keys sorted by code point, no spaces. */
    static String canonical(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, null, out);
        return out.toString();
    }

    /** The same with an indent of 2 and a line end, as files have it. */
    static String indented(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, "\n", out);
        return out.append('\n').toString();
    }

    private Object value(int depth) {
        if (depth > DEEPEST) {
            throw new IllegalArgumentException("it is nested more than " + DEEPEST + " levels deep");
        }
        switch (next()) {
            case '{':
                return members(depth);
            case '[':
                return items(depth);
            case '"':
                return string();
            case 't':
                return literal("true", Boolean.TRUE);
            case 'f':
                return literal("false", Boolean.FALSE);
            case 'n':
                return literal("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> members(int depth) {
        Map<String, Object> found = new LinkedHashMap<>();
        at += 1;
        while (!(found.isEmpty() && take('}'))) {
            if (next() != '"') {
                throw unexpected();
            }
            String key = string();
            require(':');
            if (found.containsKey(key)) {
                throw new IllegalArgumentException("a key occurs twice");
            }
            found.put(key, value(depth + 1));
            if (take('}')) {
                break;
            }
            require(',');
        }
        return found;
    }

    private List<Object> items(int depth) {
        List<Object> found = new ArrayList<>();
        at += 1;
        while (!(found.isEmpty() && take(']'))) {
            found.add(value(depth + 1));
            if (take(']')) {
                break;
            }
            require(',');
        }
        return found;
    }

    private String string() {
        StringBuilder out = new StringBuilder();
        for (at += 1; ; at += 1) {
            char letter = at < text.length() ? text.charAt(at) : 0;
            if (letter < ' ') {
                throw unexpected();
            } else if (letter == '"') {
                at += 1;
                return wellFormed(out.toString());
            }
            out.append(letter == '\\' ? escaped() : letter);
        }
    }

    private char escaped() {
        at += 1;
        char letter = at < text.length() ? text.charAt(at) : 0;
        int known = ESCAPES.indexOf(letter);
        if (known >= 0) {
            return ESCAPED.charAt(known);
        }
        int code = 0;
        for (int digit = 1; digit <= 4; digit += 1) {
            int value = at + digit < text.length() ? "0123456789abcdef".indexOf(lower(text.charAt(at + digit))) : -1;
            if (letter != 'u' || value < 0) {
                throw unexpected();
            }
            code = code << 4 | value;
        }
        at += 4;
        return (char) code;
    }

    private static char lower(char letter) {
        return letter >= 'A' && letter <= 'F' ? (char) (letter + 32) : letter;
    }

    private String wellFormed(String found) {
        for (int place = 0; !anyText && place < found.length(); place += Character.charCount(found.codePointAt(place))) {
            int code = found.codePointAt(place);
            if (code >= 0xd800 && code < 0xe000) {
                throw new IllegalArgumentException("it holds half of a surrogate pair");
            }
        }
        return found;
    }

    private Object number() {
        if (!number.region(at, text.length()).lookingAt()) {
            throw unexpected();
        }
        at = number.end();
        String found = number.group();
        if (number.group(1) != null || number.group(2) != null) {
            double value = Double.parseDouble(found);
            if (Double.isInfinite(value)) {
                throw new IllegalArgumentException("it holds a number that is not finite");
            }
            return value;
        }
        BigInteger value = found.length() > 20 ? null : new BigInteger(found);
        if (value == null || value.bitLength() > (value.signum() < 0 ? 63 : 64)) {
            throw new IllegalArgumentException("it holds a number of more than 64 bits");
        }
        return value.bitLength() > 63 ? (Object) value : (Object) value.longValue();
    }

    private Object literal(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw unexpected();
        }
        at += word.length();
        return value;
    }

    /** The next letter that is no space, or 0 at the end. */
    private char next() {
        while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
            at += 1;
        }
        return at < text.length() ? text.charAt(at) : 0;
    }

    private boolean take(char wanted) {
        boolean there = next() == wanted;
        at += there ? 1 : 0;
        return there;
    }

    private void require(char wanted) {
        if (!take(wanted)) {
            throw unexpected();
        }
    }

    private IllegalArgumentException unexpected() {
        return new IllegalArgumentException("it goes on otherwise than JSON does at character " + at);
    }

    private static void write(Object value, String line, StringBuilder out) {
        if (value instanceof Map) {
            Map<String, Object> sorted = new TreeMap<>(Json::byCodePoint);
            sorted.putAll(asObject(value));
            writeAll('{', sorted.entrySet().iterator(), '}', line, out);
        } else if (value instanceof List) {
            writeAll('[', ((List<?>) value).iterator(), ']', line, out);
        } else if (value instanceof String) {
            writeText((String) value, out);
        } else {
            out.append(value instanceof Double ? floatText((Double) value) : String.valueOf(value));
        }
    }

    private static void writeAll(char open, Iterator<?> items, char close, String line, StringBuilder out) {
        out.append(open);
        boolean some = items.hasNext();
        String inner = line == null ? null : line + "  ";
        while (items.hasNext()) {
            out.append(line == null ? "" : inner);
            Object item = items.next();
            if (item instanceof Map.Entry) {
                writeText((String) ((Map.Entry<?, ?>) item).getKey(), out);
                out.append(line == null ? ":" : ": ");
                item = ((Map.Entry<?, ?>) item).getValue();
            }
            write(item, inner, out);
            out.append(items.hasNext() ? "," : "");
        }
        out.append(line == null || !some ? "" : line).append(close);
    }

    private static void writeText(String text, StringBuilder out) {
        out.append('"');
        for (int place = 0; place < text.length(); place += 1) {
            char letter = text.charAt(place);
            int known = letter == '/' ? -1 : ESCAPED.indexOf(letter);
            if (known >= 0) {
                out.append('\\').append(ESCAPES.charAt(known));
            } else if (letter < ' ') {
                out.append(String.format(Locale.ROOT, "\\u%04x", (int) letter));
            } else {
                out.append(letter);
            }
        }
        out.append('"');
    }

    /** A float64 as Python's repr has it: the fewest digits that give it back, and of those the nearest. */
    private static String floatText(double value) {
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        BigDecimal shortest = shortest(value).stripTrailingZeros();
        String digits = shortest.unscaledValue().abs().toString();
        int exponent = digits.length() - 1 - shortest.scale();
        String sign = value < 0 ? "-" : "";
        if (exponent >= 16 || exponent < -4) {
            String mantissa = digits.charAt(0) + (digits.length() > 1 ? "." + digits.substring(1) : "");
            return sign + mantissa + String.format(Locale.ROOT, "e%s%02d", exponent < 0 ? "-" : "+", Math.abs(exponent));
        }
        String plain = shortest.abs().toPlainString();
        return sign + plain + (plain.indexOf('.') < 0 ? ".0" : "");
    }

    private static BigDecimal shortest(double value) {
        BigDecimal exact = new BigDecimal(value);
        for (int digits = 1; digits < 17; digits += 1) {
            for (RoundingMode mode : new RoundingMode[] {RoundingMode.HALF_EVEN, RoundingMode.UP, RoundingMode.DOWN}) {
                BigDecimal rounded = exact.round(new MathContext(digits, mode));
                if (rounded.doubleValue() == value) {
                    return rounded;
                }
            }
        }
        return exact.round(new MathContext(17, RoundingMode.HALF_EVEN));
    }

    /** Java sorts texts by halves of surrogate pairs, Python by characters. */
    static int byCodePoint(String one, String other) {
        int place = 0;
        int end = Math.min(one.length(), other.length());
        while (place < end && one.charAt(place) == other.charAt(place)) {
            place += 1;
        }
        if (place == end) {
            return one.length() - other.length();
        }
        boolean bothHalves = Character.isSurrogate(one.charAt(place)) && Character.isSurrogate(other.charAt(place));
        boolean halves = Character.isSurrogate(one.charAt(place)) || Character.isSurrogate(other.charAt(place));
        int difference = one.charAt(place) - other.charAt(place);
        return bothHalves || !halves ? difference : Character.isSurrogate(one.charAt(place)) ? 1 : -1;
    }
}
