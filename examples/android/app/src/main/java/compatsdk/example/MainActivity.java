package compatsdk.example;

import android.app.Activity;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.Button;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.TextView;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Searches a gallery that lies in the app by a picture that the user chooses, on the device alone.
 *
 * <p>The app was compiled against stubs of Android, LiteRT and ONNX Runtime, and never run: compat-sdk is built where there
 * is no Android SDK. docs/android.md says how to build it.
 */
public final class MainActivity extends Activity {
    private static final int CHOSEN = 1;
    private static final int LARGEST = 64 << 20;

    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private Search search;

    private interface Step {
        void run() throws IOException;
    }

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.main);
        button().setOnClickListener(view -> startActivityForResult(
                new Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*"), CHOSEN));
        inBackground(() -> {
            search = new Search(this);
            runOnUiThread(() -> {
                say(getString(R.string.ready, search.size()));
                button().setEnabled(true);
            });
        });
    }

    @Override
    protected void onDestroy() {
        worker.shutdownNow();
        super.onDestroy();
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        if (request == CHOSEN && result == RESULT_OK && data != null && data.getData() != null) {
            find(data.getData());
        }
    }

    private void find(Uri chosen) {
        say(getString(R.string.searching));
        ImageView query = findViewById(R.id.query);
        query.setImageURI(chosen);
        query.setVisibility(View.VISIBLE);
        inBackground(() -> {
            if (search == null) {
                throw new IllegalStateException("the model or the gallery was refused; open the app again to see why");
            }
            Search.Found found = search.find(read(chosen));
            runOnUiThread(() -> {
                say(getString(R.string.found, found.decodeMs, found.embedMs, found.searchMs));
                ((GridView) findViewById(R.id.hits)).setAdapter(new Hits(this, found.hits));
            });
        });
    }

    private byte[] read(Uri chosen) throws IOException {
        try (InputStream file = getContentResolver().openInputStream(chosen)) {
            ByteArrayOutputStream content = new ByteArrayOutputStream();
            byte[] piece = new byte[1 << 16];
            for (int count = file.read(piece); count >= 0; count = file.read(piece)) {
                content.write(piece, 0, count);
                if (content.size() > LARGEST) {
                    throw new IOException("the picture has more than " + LARGEST + " bytes");
                }
            }
            return content.toByteArray();
        }
    }

    /** Runs a step off the main thread. What goes wrong is said, in the words of whoever refused. */
    private void inBackground(Step step) {
        worker.execute(() -> {
            try {
                step.run();
            } catch (IOException | RuntimeException error) {
                runOnUiThread(() -> say(error.getMessage()));
            }
        });
    }

    private Button button() {
        return findViewById(R.id.choose);
    }

    private void say(String text) {
        ((TextView) findViewById(R.id.status)).setText(text);
    }
}
