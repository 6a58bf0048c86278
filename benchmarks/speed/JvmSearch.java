package compatsdk;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Collections;
import java.util.List;

/** The Java side of jvm_search.py: for each line that comes in, one query is searched and its milliseconds go out. */
final class JvmSearch {
    public static void main(String[] arguments) throws IOException {
        boolean wall = arguments[2].equals("wall");
        long start = now(wall);
        Gallery gallery = Gallery.open(Paths.get(arguments[0]));
        System.out.println((now(wall) - start) / 1e6);
        byte[] content = Files.readAllBytes(Paths.get(arguments[1]));
        Npy npy = new Npy(ByteBuffer.wrap(content), content.length, "queries");
        float[] queries = npy.floats(ByteBuffer.wrap(content));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            float[] query = new float[gallery.dim];
            System.arraycopy(queries, Integer.parseInt(line) * gallery.dim, query, 0, gallery.dim);
            Embeddings asked = new Embeddings(query, gallery.dim, gallery.space, Collections.emptyList());
            start = now(wall);
            List<Hit> hits = gallery.search(asked, 10).get(0);
            double milliseconds = (now(wall) - start) / 1e6;
            System.out.println(milliseconds + " " + hits.get(0).id);
        }
    }

    private static long now(boolean wall) {
        return wall ? System.nanoTime() : ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }
}
