package compatsdk;

import static compatsdk.Fields.expect;

import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** Names that become files: one rule for all of them, so that none leads out of its place. */
final class Names {
    static final String MANIFEST = "manifest.json";
    static final List<String> OUTSIDE_MANIFEST = Arrays.asList(MANIFEST, "signature.json");
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,118}[A-Za-z0-9_-])?");
    private static final Pattern DEVICE =
            Pattern.compile("(con|prn|aux|nul|com[0-9]|lpt[0-9])(\\..*)?", Pattern.CASE_INSENSITIVE);
    private static final List<String> LITTER = Arrays.asList(
            ".ds_store", ".localized", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory");

    private Names() {}

    /** Whether a desktop left a file of this name in a folder that was looked at. */
    static boolean isLitter(String name) {
        return LITTER.contains(folded(name)) || name.startsWith("._");
    }

    /** Refuse a name that is not plain and relative, or that means another file on another system. */
    static String checkFile(Object value) {
        boolean plain = value instanceof String && ((String) value).length() <= 240;
        for (String part : plain ? ((String) value).split("/", -1) : new String[0]) {
            plain = plain && NAME.matcher(part).matches() && !DEVICE.matcher(part).matches();
        }
        plain = plain && !OUTSIDE_MANIFEST.contains(folded((String) value));
        expect(plain, "a file's name", value, "a plain relative one such as model.onnx or golden/images.npy");
        return (String) value;
    }

    /** Refuse files that cannot lie in one folder on every system. */
    static void checkFiles(Collection<String> names) {
        Set<String> files = new HashSet<>();
        Map<String, String> folders = new HashMap<>();
        for (String name : names) {
            expect(files.add(folded(checkFile(name))), "a file's name", name, "no other one in upper or lower case");
            for (int end = name.indexOf('/'); end >= 0; end = name.indexOf('/', end + 1)) {
                String folder = name.substring(0, end);
                String known = folders.putIfAbsent(folded(folder), folder);
                expect(known == null || known.equals(folder), "a folder's name", name, "one in upper or lower case");
            }
        }
        files.retainAll(folders.keySet());
        expect(files.isEmpty(), "a name", String.join(", ", files), "a file or a folder, not both");
    }

    private static String folded(String name) {
        return name.toLowerCase(Locale.ROOT);
    }
}
