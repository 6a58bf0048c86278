package compatsdk.example;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.ImageView;
import android.widget.TextView;
import compatsdk.Hit;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;

/** Hits with their pictures, which lie in the app's assets under {@code photos/}, by their ids. */
final class Hits extends BaseAdapter {
    private final Context context;
    private final List<Hit> hits;

    Hits(Context context, List<Hit> hits) {
        this.context = context;
        this.hits = hits;
    }

    @Override
    public int getCount() {
        return hits.size();
    }

    @Override
    public Hit getItem(int position) {
        return hits.get(position);
    }

    @Override
    public long getItemId(int position) {
        return position;
    }

    @Override
    public View getView(int position, View old, ViewGroup parent) {
        View view = old != null ? old : LayoutInflater.from(context).inflate(R.layout.hit, parent, false);
        Hit hit = hits.get(position);
        String name = hit.label.isEmpty() ? hit.id : hit.label;
        ((TextView) view.findViewById(R.id.caption)).setText(context.getString(R.string.hit, name, hit.score));
        ((ImageView) view.findViewById(R.id.picture)).setImageBitmap(picture(hit.id));
        return view;
    }

    /** A small version of a picture, or null where the app was built without it: the hit is shown all the same. */
    private Bitmap picture(String id) {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inSampleSize = 2;
        try (InputStream file = context.getAssets().open("photos/" + id)) {
            return BitmapFactory.decodeStream(file, null, options);
        } catch (IOException error) {
            return null;
        }
    }
}
