package compatsdk;

/** A stored image that a search found. */
public final class Hit {
    /** Id of the stored image, such as its path. */
    public final String id;

    /** Its label, empty where none was given. */
    public final String label;

    /** Cosine similarity, -1 to 1. */
    public final float score;

    Hit(String id, String label, float score) {
        this.id = id;
        this.label = label;
        this.score = score;
    }
}
