package compatsdk;

import static compatsdk.Fields.expect;

import java.util.regex.Pattern;

/** Names of embedding spaces. */
final class Spaces {
    private static final Pattern SPACE = Pattern.compile("[A-Za-z0-9._-]{1,120}");
    private static final Pattern COVERS_ALL = Pattern.compile(".+-[0-9]+-[0-9a-f]{16}");

    private Spaces() {}

    /** Refuse what is no space identifier: 1 to 120 letters, digits, dots, dashes, underscores. */
    static String check(Object space) {
        boolean fits = space instanceof String && SPACE.matcher((String) space).matches();
        expect(fits, "a space", space, "1 to 120 of the characters A-Z a-z 0-9 . _ -");
        return (String) space;
    }

    /** Whether a space's name is a digest of everything that decides a vector. */
    static boolean coversAll(String space) {
        return COVERS_ALL.matcher(space).matches();
    }
}
