package compatsdk.example;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** A square of four pixels by each orientation of EXIF, as Pillow's ImageOps.exif_transpose turns it. */
class UprightTest {
    private static final List<String> TURNED = Arrays.asList("ABCD", "BADC", "DCBA", "CDAB", "ACBD", "CADB", "DBCA", "BDAC");

    @Test
    void eachOrientationIsTurnedUpright() {
        byte[] square = "AAABBBCCCDDD".getBytes();
        for (int orientation = 1; orientation <= 8; orientation += 1) {
            byte[] found = Upright.of(square, 2, orientation);
            StringBuilder letters = new StringBuilder();
            for (int pixel = 0; pixel < 4; pixel += 1) {
                letters.append((char) found[3 * pixel + 2]);
            }
            assertEquals(TURNED.get(orientation - 1), letters.toString(), "orientation " + orientation);
        }
        assertEquals(square, Upright.of(square, 2, 0));
    }
}
