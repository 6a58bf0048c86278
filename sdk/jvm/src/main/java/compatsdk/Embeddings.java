package compatsdk;

import compatsdk.CompatError.IncompatibleSpaceError;
import compatsdk.CompatError.VectorError;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Vectors that know the embedding space they were written in. */
public final class Embeddings {
    private static final double NORM_TOLERANCE = 1e-3;

    /** Rows of {@link #dim} numbers, each of unit length. */
    public final float[] vectors;

    /** Numbers per vector. */
    public final int dim;

    /** Space that they were written in. */
    public final String space;

    /** Gallery spaces that they may search besides their own. */
    public final List<String> searches;

    /**
     * Takes finite rows of unit length; they are kept, not copied.
     *
     * @throws VectorError they are not.
     * @throws CompatError.ConfigError a space's name is malformed.
     */
    public Embeddings(float[] vectors, int dim, String space, List<String> searches) {
        if (dim < 1 || vectors.length % dim != 0) {
            throw new VectorError("vectors are " + vectors.length + " numbers; expected rows of " + dim);
        }
        for (int row = 0; row < vectors.length / dim; row += 1) {
            if (!isUnit(length(vectors, row * dim, dim))) {
                throw new VectorError("row " + row + " is not finite and of unit length; divide each row by its length");
            }
        }
        Spaces.check(space);
        searches.forEach(Spaces::check);
        this.vectors = vectors;
        this.dim = dim;
        this.space = space;
        this.searches = Collections.unmodifiableList(new ArrayList<>(searches));
    }

    /** How many vectors there are. */
    public int size() {
        return vectors.length / dim;
    }

    /**
     * Refuse a search whose scores would mean nothing.
     *
     * @throws IncompatibleSpaceError these vectors may not search the space.
     */
    public void requireCompatible(String gallerySpace) {
        if (!space.equals(gallerySpace) && !searches.contains(gallerySpace)) {
            String may = searches.isEmpty() ? "no other space" : String.join(", ", searches);
            throw new IncompatibleSpaceError("query vectors are in space " + space + " and may search " + may
                    + ", but the gallery is in space " + gallerySpace
                    + "; embed the queries with the gallery's own model or with a query model trained against it");
        }
    }

    static boolean isUnit(double length) {
        return Math.abs(length - 1) <= NORM_TOLERANCE;
    }

    /** Whether a row of this length has a direction. */
    static boolean isDirected(double length) {
        return length > 0 && length < Double.POSITIVE_INFINITY;
    }

    static double length(float[] numbers, int from, int dim) {
        double sum = 0;
        for (int at = from; at < from + dim; at += 1) {
            sum += (double) numbers[at] * numbers[at];
        }
        return Math.sqrt(sum);
    }

    /** Each row divided by its length. */
    static void normalise(float[] vectors, int dim) {
        for (int row = 0; row < vectors.length / dim; row += 1) {
            float length = (float) length(vectors, row * dim, dim);
            if (!isDirected(length)) {
                throw new VectorError("image " + row + " has no embedding: NaN, infinity or zeros alone; run the self-test");
            }
            for (int at = row * dim; at < (row + 1) * dim; at += 1) {
                vectors[at] /= length;
            }
        }
    }
}
