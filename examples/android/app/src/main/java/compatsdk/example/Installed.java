package compatsdk.example;

import android.content.Context;
import android.content.pm.PackageManager;
import android.content.res.AssetManager;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;

/** The bundle and the gallery as files: what lies inside an app's package can neither be listed cheaply nor mapped. */
final class Installed {
    private Installed() {}

    /** The folder that holds a copy of the assets of this very installation; older copies are deleted. */
    static Path folder(Context context) throws IOException {
        Path all = context.getFilesDir().toPath().resolve("installed");
        Path folder = all.resolve(Long.toString(installedAt(context)));
        if (!Files.isDirectory(folder)) {
            delete(all);
            Path partial = all.resolve("partial");
            for (String name : new String[] {"query.bundle", "photos.gallery"}) {
                copy(context.getAssets(), name, partial.resolve(name));
            }
            Files.move(partial, folder); // a copy that was interrupted never gets the name
        }
        return folder;
    }

    private static long installedAt(Context context) {
        try {
            return context.getPackageManager().getPackageInfo(context.getPackageName(), 0).lastUpdateTime;
        } catch (PackageManager.NameNotFoundException error) {
            throw new AssertionError(error); // it is this app
        }
    }

    private static void copy(AssetManager assets, String from, Path to) throws IOException {
        String[] names = assets.list(from);
        if (names.length == 0) {
            Files.createDirectories(to.getParent());
            try (InputStream content = assets.open(from)) {
                Files.copy(content, to);
            }
        }
        for (String name : names) {
            copy(assets, from + "/" + name, to.resolve(name));
        }
    }

    private static void delete(Path folder) throws IOException {
        if (Files.exists(folder)) {
            try (Stream<Path> found = Files.walk(folder)) {
                for (Path path : (Iterable<Path>) found.sorted(Comparator.reverseOrder())::iterator) {
                    Files.delete(path);
                }
            }
        }
    }
}
