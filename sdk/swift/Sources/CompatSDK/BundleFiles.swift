import Foundation

/// The files of a bundle in either form, by their names with `/`. Nothing is known yet about what they hold.
protocol BundleFiles {
    /// Size in bytes of every file.
    var sizes: [Text: Int] { get }
    /// The content of a listed file.
    func read(_ name: String) throws -> Data
}

private let mostFiles = 10_000

/// A folder of plain files; links are refused, and what desktops leave in any folder is passed over.
struct FolderFiles: BundleFiles {
    let sizes: [Text: Int]
    private let folder: URL

    init(_ url: URL) throws {
        folder = url.resolvingSymlinksInPath()  // the folder itself may be reached by a link
        // Before anything else is listed: the folder named by mistake may be a whole disk.
        guard plainSize(folder.appendingPathComponent(manifestName)) != nil else {
            throw BundleError(message: "\(url.path) is not a bundle: it has no plain file \(manifestName)")
        }
        var found: [Text: Int] = [:]
        try FolderFiles.walk(folder, "", &found)
        sizes = found
    }

    private static func walk(_ folder: URL, _ prefix: String, _ found: inout [Text: Int]) throws {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        } catch {
            throw SystemRefusedError(message: "cannot list \(folder.path): see to its permissions")
        }
        for name in names {
            let url = folder.appendingPathComponent(name)
            let type = try? FileManager.default.attributesOfItem(atPath: url.path)[.type] as? FileAttributeType
            if type == .typeDirectory {
                try walk(url, prefix + name + "/", &found)
            } else if let size = plainSize(url) {
                if !isLitter(name) { found[Text(prefix + name)] = size }
            } else {
                throw BundleError(message: "\(url.path) is a link or a special file; a bundle holds plain files only")
            }
            guard found.count <= mostFiles else {
                throw BundleError(message: "\(folder.path) holds more than \(mostFiles) files; a bundle never does")
            }
        }
    }

    func read(_ name: String) throws -> Data { try contents(folder.appendingPathComponent(name)) }
}

/// A bundle as one zip file, in the one form that compat-sdk writes: stored, in order, without a gap.
///
/// Every header can be made again from names, sizes and checksums, and is compared; see compat_sdk/bundle/archive.py.
struct ZipFiles: BundleFiles {
    private struct Entry {
        let name: [UInt8]
        let crc: UInt32
        let size: UInt32
        let offset: Int

        var start: Int { offset + 30 + name.count }

        /// The header in front of the content, or the record in the directory at the end.
        func header(central: Bool) -> Data {
            var out = Data()
            out.add(central ? 0x0201_4b50 : 0x0403_4b50, 4)
            if central { out.add(3 << 8 | 20, 2) }
            for (value, width) in [(20, 2), (0, 4), (0, 2), (1 << 5 | 1, 2)] { out.add(value, width) }
            for (value, width) in [(Int(crc), 4), (Int(size), 4), (Int(size), 4), (name.count, 2)] { out.add(value, width) }
            if central {
                for (value, width) in [(0, 8), (0o100644 << 16, 4), (offset, 4)] { out.add(value, width) }
            } else {
                out.add(0, 2)
            }
            return out + name
        }
    }

    private let url: URL
    private let data: Data
    private var entries: [Text: Entry] = [:]

    var sizes: [Text: Int] { entries.mapValues { Int($0.size) } }

    /// Checks the structure before any content is looked at. Throws BundleError where any byte of it is another one.
    init(_ url: URL) throws {
        self.url = url
        guard let size = plainSize(url.resolvingSymlinksInPath()), size >= 22 else {
            throw ZipFiles.refused(url, "is not a bundle: neither a folder nor a zip file")
        }
        data = try contents(url)
        let end = data.count - 22, count = data.number(end + 10, 2)
        let size32 = data.number(end + 12, 4), offset = data.number(end + 16, 4)
        var last = Data()
        for (value, width) in [(0x0605_4b50, 4), (0, 4), (count, 2), (count, 2), (size32, 4), (offset, 4), (0, 2)] {
            last.add(value, width)
        }
        guard data[end...].elementsEqual(last), offset + size32 == end, count <= mostFiles, size32 <= 4 << 20 else {
            throw ZipFiles.refused(url, "does not end as a bundle's zip does: it is cut, or has bytes around its directory")
        }
        try readEntries(from: offset, to: end, count)
        guard entries[Text(manifestName)] != nil else { throw ZipFiles.refused(url, "is not a bundle: it has no \(manifestName)") }
    }

    private mutating func readEntries(from offset: Int, to end: Int, _ count: Int) throws {
        var at = offset, begin = 0, before = Text("")
        while at < end {
            let letters = end - at < 46 ? 0 : data.number(at + 28, 2)
            guard letters > 0, end - at >= 46 + letters else {
                throw ZipFiles.refused(url, "has a directory that is cut within a record")
            }
            let record = data[at..<at + 46 + letters]
            let crc = UInt32(data.number(at + 16, 4)), size = UInt32(data.number(at + 24, 4))
            let entry = Entry(name: Array(record.suffix(letters)), crc: crc, size: size, offset: begin)
            let name = String(decoding: entry.name, as: UTF8.self)
            guard record.elementsEqual(entry.header(central: true)), size != .max else {
                throw ZipFiles.refused(url, "describes \(shortened(name)) as no bundle does: compressed, encrypted, a link, "
                    + "dated, or elsewhere")
            }
            let local = entry.header(central: false)
            guard entry.start + Int(size) <= offset, data[begin..<begin + local.count].elementsEqual(local) else {
                throw ZipFiles.refused(url, "describes \(shortened(name)) differently at its own place")
            }
            guard before < Text(name) else {
                throw ZipFiles.refused(url, "has entries out of order, or one twice: \(shortened(name))")
            }
            entries[Text(name)] = entry
            (before, begin, at) = (Text(name), entry.start + Int(size), at + record.count)
        }
        guard begin == offset, entries.count == count else {
            throw ZipFiles.refused(url, "counts its entries otherwise than it lists them")
        }
        do {
            try checkFiles(entries.keys.map(\.string).filter { !outsideManifest.contains($0) })
        } catch let error as ConfigError {
            throw ZipFiles.refused(url, "holds what no bundle may: \(error.message)")
        }
    }

    func read(_ name: String) throws -> Data {
        guard let entry = entries[Text(name)] else { throw ZipFiles.refused(url, "has no \(name)") }
        let content = data.subdata(in: entry.start..<entry.start + Int(entry.size))
        guard crc32(content) == entry.crc else { throw ZipFiles.refused(url, "has \(name) damaged: its CRC-32 is another one") }
        return content
    }

    private static func refused(_ url: URL, _ why: String) -> BundleError {
        BundleError(message: "\(url.path) \(why); get the bundle again, or write it again with `compat-sdk bundle pack`")
    }
}

private let crcTable: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? 0xedb8_8320 ^ crc >> 1 : crc >> 1 }
}

private func crc32(_ data: Data) -> UInt32 {
    data.withUnsafeBytes { ~$0.reduce(~0) { crcTable[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 } }
}

extension Data {
    /// Append a number, its lowest byte first.
    fileprivate mutating func add(_ value: Int, _ width: Int) {
        for byte in 0..<width { append(UInt8(truncatingIfNeeded: value >> (8 * byte))) }
    }

    /// The number in `width` bytes, the lowest first.
    func number(_ at: Int, _ width: Int) -> Int {
        (0..<width).reduce(0) { $0 | Int(self[startIndex + at + $1]) << (8 * $1) }
    }
}
