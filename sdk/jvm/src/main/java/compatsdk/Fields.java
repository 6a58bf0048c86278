package compatsdk;

import java.math.BigInteger;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** An object of parsed JSON, its values read by type and range. What does not fit is a ConfigError that names it. */
final class Fields {
    static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
    private static final Pattern PRINTABLE = Pattern.compile("(?: |[^\\p{C}\\p{Z}])+");
    private static final Pattern UNSAFE = Pattern.compile("[\\p{C}\\p{Zl}\\p{Zp}]");

    final Map<String, Object> values;
    private final String what;

    private Fields(Map<String, Object> values, String what) {
        this.values = values;
        this.what = what;
    }

    /** The object that has every field of {@code needed}, and others from {@code more} alone. */
    static Fields of(Object value, String what, List<String> needed, String... more) {
        Set<String> known = new HashSet<>(needed);
        known.addAll(Arrays.asList(more));
        boolean fits = value instanceof Map && Json.asObject(value).keySet().containsAll(needed);
        fits = fits && known.containsAll(Json.asObject(value).keySet());
        Object found = value instanceof Map ? String.join(", ", Json.asObject(value).keySet()) : value;
        expect(fits, what, found, "exactly the fields " + String.join(", ", needed));
        return new Fields(Json.asObject(value), what);
    }

    static void expect(boolean holds, String label, Object found, String expected) {
        if (!holds) {
            throw new CompatError.ConfigError(label + " is " + shown(found) + "; expected " + expected);
        }
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    Object get(String name) {
        return values.get(name);
    }

    /** A text of which {@code allowed} is the whole form. */
    String text(String name, Pattern allowed, String expected) {
        Object value = get(name);
        expect(value instanceof String && allowed.matcher((String) value).matches(), label(name), value, expected);
        return (String) value;
    }

    String text(String name) {
        expect(get(name) instanceof String, label(name), get(name), "text");
        return (String) get(name);
    }

    /** A text of 1 to {@code most} printable characters. */
    String printable(String name, int most) {
        expect(isPrintable(get(name), most), label(name), get(name), "1 to " + most + " printable characters");
        return (String) get(name);
    }

    String oneOf(String name, String... choices) {
        expect(Arrays.asList(choices).contains(get(name)), label(name), get(name), String.join(" or ", choices));
        return (String) get(name);
    }

    /** An integer in a range; 1.0 and true are none. */
    long integer(String name, long low, long high) {
        Object value = get(name);
        boolean fits = value instanceof Long && (Long) value >= low && (Long) value <= high;
        expect(fits, label(name), value, "an integer from " + low + " to " + high);
        return (Long) value;
    }

    /** A number in a range, whether it is written as 1 or as 1.0. */
    double number(String name, double low, double high) {
        Object value = get(name);
        boolean fits = isNumber(value) && numberOf(value) >= low && numberOf(value) <= high;
        expect(fits, label(name), value, "a number from " + low + " to " + high);
        return numberOf(value);
    }

    List<?> list(String name) {
        expect(get(name) instanceof List, label(name), get(name), "a list");
        return (List<?>) get(name);
    }

    static boolean isNumber(Object value) {
        return value instanceof Long || value instanceof BigInteger || value instanceof Double;
    }

    static double numberOf(Object value) {
        return ((Number) value).doubleValue();
    }

    static boolean isPrintable(Object value, int most) {
        String text = value instanceof String ? (String) value : "";
        return text.codePointCount(0, text.length()) <= most && PRINTABLE.matcher(text).matches();
    }

    /** How an error shows a value that it found: on one line, shortened. */
    static String shown(Object value) {
        String text = UNSAFE.matcher(Json.canonical(value)).replaceAll("\\\\?");
        return text.length() > 80 ? text.substring(0, 52) + "..." + text.substring(text.length() - 25) : text;
    }

    private String label(String name) {
        return what.isEmpty() ? name : what + "." + name;
    }
}
