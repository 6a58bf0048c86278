package compatsdk;

/** What reads the file of a picture: Android has BitmapFactory, Java on a desktop ImageIO. */
public interface Decoder {
    /**
     * Decodes the bytes of a JPEG or PNG, upright.
     *
     * @param preprocessing whose {@link Preprocessing#draftScale} a JPEG may be scaled down by.
     */
    Picture decode(byte[] file, Preprocessing preprocessing);
}
