import Foundation

/// A bundle whose every file was verified: a model with everything that is needed to embed images with it.
///
/// Python calls it Bundle. Foundation has a Bundle of its own, and every app imports it.
public struct ModelBundle {
    /// Its folder or zip file.
    public let url: URL
    /// What it says about its model.
    public let manifest: Manifest
    /// SHA-256 of the manifest's bytes, which name the digest of every other file.
    public let digest: String

    private let files: any BundleFiles

    /// Verify a bundle, folder or zip whatever its name, and open it.
    ///
    /// A signature is not looked at: a digest tells damage, not origin. Let an app get its bundles from a source that it
    /// trusts.
    ///
    /// - Throws: BundleError where it is damaged, incomplete, or past its last day by this device's clock in UTC;
    ///   ConfigError for a transform of embeddings, which embeds no images; SystemRefusedError.
    public init(_ url: URL) throws {
        do {
            self.url = url
            var isFolder: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder)
            files = isFolder.boolValue ? try FolderFiles(url) : try ZipFiles(url)
            let largest = 4 << 20
            guard files.sizes[Text(manifestName), default: 0] <= largest else {
                throw BundleError(message: "\(manifestName) of \(url.path) has more than \(largest) bytes")
            }
            let document = try files.read(manifestName)
            digest = sha256(document)
            manifest = try Manifest(Json.object(document, manifestName))
            try verify()
        } catch let error as CorruptFileError {
            throw BundleError(message: "\(url.path): \(error.message)")
        }
    }

    private func verify() throws {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withFullDate]
        let today = formatter.string(from: Date())
        if let expires = manifest.expires, today > expires {
            throw BundleError(message: "\(url.path) was meant to be used until \(expires), and by this clock it is \(today); "
                + "get a newer release")
        }
        let known = Set(manifest.files.keys).union(outsideManifest.map { Text($0) })
        if let unlisted = Set(files.sizes.keys).subtracting(known).min() {
            throw BundleError(message: "\(url.path) holds files that its manifest does not list, such as "
                + "\(shortened(unlisted.string)); remove them")
        }
        for name in manifest.files.keys.sorted() { _ = try read(name.string) }
        guard manifest.preprocessing != nil else {
            throw ConfigError(message: "\(url.path) is a transform of embeddings and takes no images; open a model of images")
        }
        _ = try Golden(self)
    }

    /// The content of one listed file, compared with its digest.
    ///
    /// - Throws: BundleError where the bundle does not list it, or it is another one.
    public func read(_ name: String) throws -> Data {
        guard let record = manifest.files[Text(name)], let size = files.sizes[Text(name)] else {
            throw BundleError(message: "\(url.path) has no file \(shortened(name))")
        }
        guard size == record.bytes else {
            throw BundleError(message: "\(name) of \(url.path) has \(size) bytes, expected \(record.bytes)")
        }
        do {
            let content = try files.read(name)
            let found = sha256(content)
            guard found == record.sha256 else {
                throw BundleError(message: "\(name) of \(url.path) has SHA-256 \(found.prefix(16))..., "
                    + "expected \(record.sha256.prefix(16))...")
            }
            guard !isHidden(name, content) else {
                throw BundleError(message: "\(name) is a pickle or an archive, which can run code or hide it")
            }
            return content
        } catch let error as CorruptFileError {
            throw BundleError(message: "\(url.path): \(error.message)")
        }
    }

    /// The graph of a target, of a precision or else the first listed.
    ///
    /// - Throws: BundleError where there is none.
    public func graph(_ target: String, precision: String? = nil) throws -> Graph {
        let fits = manifest.graphs.first { $0.target == target && (precision == nil || $0.precision == precision) }
        if let fits { return fits }
        let listed = manifest.graphs.map { $0.target + " " + $0.precision }.joined(separator: ", ")
        throw BundleError(message: "\(url.path) has no \(target) graph of this precision; it has \(listed)")
    }
}

/// Whether a file is a pickle or an archive, by its name, its first bytes, or its end: a zip may follow anything.
private func isHidden(_ name: String, _ content: Data) -> Bool {
    let suffixes = ["pkl", "pickle", "pt", "pth", "ckpt", "joblib", "npz", "zip", "tar", "gz", "tgz", "bz2", "xz", "zst",
                    "7z", "rar", "jar", "whl"]
    let parts = name.lowercased().split(separator: ".", omittingEmptySubsequences: false)
    if parts.count > 1, suffixes.contains(String(parts.last!)) { return true }
    let head = Array(content.prefix(512)), tail = Array(content.suffix(22))
    let magics: [[UInt8]] = [
        [0x50, 0x4b, 3, 4], [0x50, 0x4b, 5, 6], [0x1f, 0x8b, 8], [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0],
        [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], Array("Rar!\u{1a}\u{7}".utf8), [0x28, 0xb5, 0x2f, 0xfd],
    ]
    let pickle = head.count > 1 && head[0] == 0x80 && head[1] <= 5 && tail.last == UInt8(ascii: ".")
    let bzip = head.starts(with: "BZh".utf8) && head.dropFirst(4).starts(with: "1AY&SY".utf8)
    let tar = head.dropFirst(257).starts(with: "ustar".utf8)
    return pickle || bzip || tar || tail.starts(with: [0x50, 0x4b, 5, 6]) || magics.contains { head.starts(with: $0) }
}
