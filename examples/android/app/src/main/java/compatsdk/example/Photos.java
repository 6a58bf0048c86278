package compatsdk.example;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.media.ExifInterface;
import android.os.Build;
import compatsdk.Picture;
import compatsdk.Preprocessing;
import java.io.ByteArrayInputStream;
import java.io.IOException;

/** Pictures by Android's own decoder, which reads a JPEG at a fraction of its size as the Python runtime does. */
final class Photos {
    private Photos() {}

    /** The decoded picture as it lies in the file; a {@code compatsdk.Decoder}. */
    static Picture decode(byte[] file, Preprocessing preprocessing) {
        Bitmap bitmap = bitmap(file, preprocessing);
        int[] colours = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(colours, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        return Picture.ofArgb(colours, bitmap.getWidth(), bitmap.getHeight());
    }

    /** What the model sees of a file, upright. */
    static byte[] pixels(byte[] file, Preprocessing preprocessing) {
        byte[] pixels = preprocessing.toPixels(decode(file, preprocessing));
        return Upright.of(pixels, preprocessing.size, orientation(file));
    }

    private static Bitmap bitmap(byte[] file, Preprocessing preprocessing) {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        BitmapFactory.decodeByteArray(file, 0, file.length, options);
        boolean jpeg = "image/jpeg".equals(options.outMimeType);
        options.inSampleSize = jpeg ? preprocessing.draftScale(options.outWidth, options.outHeight) : 1;
        options.inJustDecodeBounds = false;
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        options.inPremultiplied = false;
        Bitmap bitmap = BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (bitmap == null) {
            throw new IllegalArgumentException("this device cannot read the picture");
        }
        if (Build.VERSION.SDK_INT >= 29) { // the model never saw a colour profile applied; Android 8 and 9 cannot but do it
            bitmap.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB));
        }
        return bitmap;
    }

    private static int orientation(byte[] file) {
        try {
            ExifInterface exif = new ExifInterface(new ByteArrayInputStream(file));
            return exif.getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL);
        } catch (IOException error) {
            return ExifInterface.ORIENTATION_NORMAL; // a format that holds no EXIF
        }
    }
}
