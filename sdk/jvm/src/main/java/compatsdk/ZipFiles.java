package compatsdk;

import compatsdk.CompatError.BundleError;
import compatsdk.CompatError.ConfigError;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32;

/**
 * A bundle as one zip file, in the one form that compat-sdk writes: stored, in order, without a gap.
 *
 * <p>Every header can be made again from names, sizes and checksums, and is compared; see compat_sdk/bundle/archive.py.
 * java.util.zip takes much that is not of this form, and says nothing.
 */
final class ZipFiles implements BundleFiles {
    private static final int LOCAL = 30;
    private static final int CENTRAL = 46;
    private static final int END = 22;
    private static final int MOST_DIRECTORY = 4 << 20;
    private static final int JANUARY_1980 = 1 << 5 | 1;

    private final Path path;
    private final Map<String, Entry> entries = new LinkedHashMap<>();

    private static final class Entry {
        byte[] name;
        int crc;
        long size;
        long offset;

        long start() {
            return offset + LOCAL + name.length;
        }

        /** The header in front of the content, or the record in the directory at the end. */
        byte[] header(boolean central) {
            ByteBuffer out = littleEndian(new byte[(central ? CENTRAL : LOCAL) + name.length]);
            out.putInt(central ? 0x02014b50 : 0x04034b50);
            if (central) {
                out.putShort((short) (3 << 8 | 20));
            }
            out.putShort((short) 20).putInt(0).putShort((short) 0).putShort((short) JANUARY_1980);
            out.putInt(crc).putInt((int) size).putInt((int) size).putShort((short) name.length);
            if (central) {
                out.putLong(0).putInt(0100644 << 16).putInt((int) offset);
            } else {
                out.putShort((short) 0);
            }
            return out.put(name).array();
        }
    }

    /**
     * Checks the structure before any content is looked at.
     *
     * @throws BundleError it is no zip, or differs in any byte of its structure from what compat-sdk writes.
     */
    ZipFiles(Path path) throws IOException {
        this.path = path;
        if (!Files.isRegularFile(path) || Files.size(path) < END) {
            throw refused("is not a bundle: neither a folder nor a zip file");
        }
        try (FileChannel file = FileChannel.open(path)) {
            readEntries(file);
        }
        if (!entries.containsKey(Names.MANIFEST)) {
            throw refused("is not a bundle: it has no " + Names.MANIFEST);
        }
    }

    private void readEntries(FileChannel file) throws IOException {
        long end = file.size() - END;
        ByteBuffer last = bytes(file, end, END);
        int count = last.getShort(10) & 0xffff;
        long size = last.getInt(12) & 0xffffffffL;
        long offset = last.getInt(16) & 0xffffffffL;
        ByteBuffer wanted = littleEndian(new byte[END]).putInt(0x06054b50).putInt(0).putShort((short) count);
        wanted.putShort((short) count).putInt((int) size).putInt((int) offset).putShort((short) 0);
        Rows.seek(wanted, 0);
        if (!last.equals(wanted) || offset + size != end || count > MOST_FILES || size > MOST_DIRECTORY) {
            throw refused("does not end as a bundle's zip does: it is cut, or has bytes around its directory");
        }
        ByteBuffer directory = bytes(file, offset, (int) size);
        long begin = 0;
        String before = "";
        while (directory.hasRemaining()) {
            Entry entry = entry(directory, begin);
            String name = new String(entry.name, StandardCharsets.ISO_8859_1);
            byte[] local = entry.header(false);
            begin = entry.start() + entry.size;
            if (begin > offset || !bytes(file, entry.offset, local.length).equals(ByteBuffer.wrap(local))) {
                throw refused("describes " + Fields.shown(name) + " differently at its own place");
            } else if (name.compareTo(before) <= 0) {
                throw refused("has entries out of order, or one twice: " + Fields.shown(name));
            }
            entries.put(before = name, entry);
        }
        if (begin != offset || entries.size() != count) {
            throw refused("counts its entries otherwise than it lists them");
        }
        List<String> names = new ArrayList<>(entries.keySet());
        names.removeAll(Names.OUTSIDE_MANIFEST);
        try {
            Names.checkFiles(names);
        } catch (ConfigError error) {
            throw refused("holds what no bundle may: " + error.getMessage());
        }
    }

    private Entry entry(ByteBuffer directory, long begin) {
        int at = directory.position();
        Entry entry = new Entry();
        int letters = directory.remaining() < CENTRAL ? 0 : directory.getShort(at + 28) & 0xffff;
        if (letters == 0 || directory.remaining() < CENTRAL + letters) {
            throw refused("has a directory that is cut within a record");
        }
        entry.crc = directory.getInt(at + 16);
        entry.size = directory.getInt(at + 24) & 0xffffffffL;
        entry.offset = begin;
        entry.name = new byte[letters];
        byte[] found = new byte[CENTRAL + letters];
        directory.get(found);
        System.arraycopy(found, CENTRAL, entry.name, 0, letters);
        if (!ByteBuffer.wrap(found).equals(ByteBuffer.wrap(entry.header(true))) || entry.size == 0xffffffffL) {
            String name = Fields.shown(new String(entry.name, StandardCharsets.ISO_8859_1));
            throw refused("describes " + name + " as no bundle does: compressed, encrypted, a link, dated, or elsewhere");
        }
        return entry;
    }

    @Override
    public Map<String, Long> sizes() {
        Map<String, Long> sizes = new LinkedHashMap<>();
        entries.forEach((name, entry) -> sizes.put(name, entry.size));
        return sizes;
    }

    @Override
    public byte[] read(String name) throws IOException {
        Entry entry = entries.get(name);
        try (FileChannel file = FileChannel.open(path)) {
            byte[] content = bytes(file, entry.start(), (int) Math.min(entry.size, Integer.MAX_VALUE - 8)).array();
            CRC32 crc = new CRC32();
            crc.update(content);
            if (content.length != entry.size || (int) crc.getValue() != entry.crc) {
                throw refused("has " + name + " damaged: its CRC-32 is another one");
            }
            return content;
        }
    }

    /** The next bytes of a file, cut where it ends. */
    private static ByteBuffer bytes(FileChannel file, long at, int count) throws IOException {
        ByteBuffer found = littleEndian(new byte[count]);
        while (found.hasRemaining() && file.read(found, at + found.position()) >= 0) {}
        return littleEndian(found.hasRemaining() ? Arrays.copyOf(found.array(), found.position()) : found.array());
    }

    private static ByteBuffer littleEndian(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private BundleError refused(String why) {
        String advice = "; get the bundle again, or unpack it and write it with `compat-sdk bundle pack`";
        return new BundleError(path + " " + why + advice, null);
    }
}
