package compatsdk.example;

/**
 * Turns a square of pixels upright, by the orientation that a camera notes in EXIF.
 *
 * <p>The small square is turned, after the resize, and not the whole photo before it: so does the Python runtime.
 */
final class Upright {
    private Upright() {}

    /**
     * The square as a viewer shows it.
     *
     * @param pixels RGB, 3 bytes each, row by row.
     * @param side of the square.
     * @param orientation 1 to 8, as EXIF has it; anything else leaves the square as it is.
     */
    static byte[] of(byte[] pixels, int side, int orientation) {
        if (orientation < 2 || orientation > 8) {
            return pixels;
        }
        boolean swapped = orientation >= 5;
        boolean fromRight = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
        boolean fromBelow = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
        byte[] found = new byte[pixels.length];
        for (int row = 0; row < side; row += 1) {
            for (int column = 0; column < side; column += 1) {
                int across = swapped ? row : column;
                int down = swapped ? column : row;
                across = fromRight ? side - 1 - across : across;
                down = fromBelow ? side - 1 - down : down;
                System.arraycopy(pixels, 3 * (down * side + across), found, 3 * (row * side + column), 3);
            }
        }
        return found;
    }
}
