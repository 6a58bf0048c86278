package compatsdk;

import java.util.Arrays;

/** The best rows so far. A score and its row are one number, which is larger the better: ties go to the lower row. */
final class Best {
    private final int k;
    private final long[] keys;
    private int count;
    private long floor = Long.MIN_VALUE;

    Best(int k) {
        this.k = k;
        keys = new long[2 * k];
    }

    void offer(float score, int row) {
        int bits = Float.floatToIntBits(score + 0f); // -0 is 0
        add((long) (bits ^ bits >> 31 & Integer.MAX_VALUE) << 32 | Integer.MAX_VALUE - row);
    }

    void merge(Best other) {
        for (int at = 0; at < other.count; at += 1) {
            add(other.keys[at]);
        }
    }

    /** The keys of the best k, best first. */
    long[] keys() {
        keepBest();
        long[] found = new long[count];
        for (int at = 0; at < count; at += 1) {
            found[at] = keys[count - 1 - at];
        }
        return found;
    }

    static int row(long key) {
        return Integer.MAX_VALUE - (int) key;
    }

    static float score(long key) {
        int bits = (int) (key >> 32);
        return Float.intBitsToFloat(bits ^ bits >> 31 & Integer.MAX_VALUE);
    }

    private void add(long key) {
        if (key > floor) {
            keys[count] = key;
            count += 1;
            if (count == keys.length) {
                keepBest();
            }
        }
    }

    /** Sort when twice as many as wanted have come: the cost is spread over all of them. */
    private void keepBest() {
        Arrays.sort(keys, 0, count);
        int kept = Math.min(k, count);
        System.arraycopy(keys, count - kept, keys, 0, kept);
        count = kept;
        floor = kept > 0 && kept == k ? keys[0] : floor;
    }
}
