import Foundation

/// A stored image that a search found.
public struct Hit: Equatable, Sendable {
    /// Id of the stored image, such as its path.
    public let id: String
    /// Its label, empty where none was given.
    public let label: String
    /// Cosine similarity, -1 to 1.
    public let score: Float
}

/// Stored vectors of one embedding space, with ids and labels, read and searched. Only Python writes one.
///
/// The vectors are mapped, so that they take memory that the system can take back. Searches from several threads are
/// independent. An id that holds half of a surrogate pair, as the name of a file on Linux may, has U+FFFD in its place: no
/// Swift text can hold it.
public struct Gallery: @unchecked Sendable {
    private static let state = "gallery.json"
    private static let restore = "; restore the gallery from a copy, or build it again"
    private static let rowsPerThread = 16_384

    /// Its folder.
    public let url: URL
    /// Embedding space of the vectors.
    public let space: String
    /// Numbers per vector.
    public let dim: Int
    /// How the numbers are stored: `float32`, `float16` or `int8`.
    public let dtype: String
    /// Grows with every change.
    public let generation: Int
    /// How many pairs of files hold the rows.
    public let segments: Int
    /// Id of every row.
    public let ids: [String]
    /// Label of every row, empty where none was given.
    public let labels: [String]

    /// What is known of the gallery's model.
    let model: Json
    private let parts: [Rows]

    /// Verify a gallery, every byte that a search uses, and open it ready to be searched.
    ///
    /// - Throws: GalleryError for no gallery, or a damaged one; SystemRefusedError.
    public init(_ url: URL) throws {
        while true {
            let document = try Gallery.read(url)
            do {
                try self.init(url, document)
                return
            } catch let error as any CompatError {
                if try Gallery.read(url) != document { continue }  // a writer replaced it meanwhile
                if error is GalleryError || error is SystemRefusedError { throw error }
                throw GalleryError(message: "\(url.path): \(error.message)\(Gallery.restore)")
            }
        }
    }

    private static func read(_ url: URL) throws -> Data {
        let file = url.appendingPathComponent(state)
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw GalleryError(message: "\(url.path) is not a gallery: found no \(state); check the path")
        }
        do {
            return try Data(contentsOf: file)
        } catch {
            throw SystemRefusedError(message: "cannot read \(file.path): see to permissions and open files")
        }
    }

    private init(_ url: URL, _ document: Data) throws {
        self.url = url
        var value = try Json.object(document, Gallery.state)
        let of = try Fields(.object(value), "", [
            "format", "version", "digest", "space", "dim", "model", "generation", "content", "segments", "index",
        ], more: ["dtype"])
        _ = try of.oneOf("format", "compat-sdk-gallery")
        let version = try of.integer("version", 1, 4)
        space = try checkSpace(of["space"])
        dim = try of.integer("dim", 1, 1 << 20)
        generation = try of.integer("generation", 0, .max)
        try of.integer("content", 0, .max)
        dtype = of.has("dtype") ? try of.oneOf("dtype", "float16", "int8") : "float32"
        model = .object(try of.object("model", "what is known of it, by name"))
        var other = false
        if let index = of["index"] {
            let index = try Fields(index, "index", ["kind", "content", "options", "file"])
            other = try index.text("kind") != "usearch"
            try index.integer("content", 0, .max)
            _ = try index.object("options", "settings by name")
            _ = try StoredFile(index["file"])
        }
        let stored = try of.list("segments").map { one in
            let segment = try Fields(one, "a segment", ["rows", "vectors", "table"])
            let rows = try segment.integer("rows", 0, Int(Int32.max))
            return (rows: rows, vectors: try StoredFile(segment["vectors"]), table: try StoredFile(segment["table"]))
        }
        let lines = stored.contains { $0.table.name.hasSuffix(".jsonl") }
        try expect(version == (other ? 4 : lines ? 3 : of.has("dtype") ? 2 : 1), "version", "\(version)", "that of what it holds")
        value["digest"] = .text(Text(sealOf(value)))
        let same = Json.object(value).indented.utf8.elementsEqual(document)
        try expect(same, Gallery.state, "another text", "what its own digest says")

        segments = stored.count
        var names: [String] = [], words: [String] = [], parts: [Rows] = []
        for segment in stored {
            let before = names.count
            try Gallery.readTable(segment.table.content(in: url), segment.table.name, &names, &words)
            try expect(names.count - before == segment.rows, "rows", "\(segment.rows)", "\(names.count - before), as the table lists")
            let vectors = try segment.vectors.content(in: url)
            parts.append(try Rows(vectors, segment.vectors.name, rows: segment.rows, dim: dim, dtype: dtype))
        }
        (ids, labels, self.parts) = (names, words, parts)
    }

    /// A segment's table: one line of JSON for each 65,536 rows.
    private static func readTable(_ content: Data, _ name: String, _ ids: inout [String], _ labels: inout [String]) throws {
        for line in content.split(separator: 10) {
            let names = (try? Json.value(line, anyText: true))?.asObject ?? [:]
            let some = names["ids"]?.asList?.map(\.asText), words = names["labels"]?.asList?.map(\.asText)
            guard let some, let words, some.count == words.count, !some.contains(nil), !words.contains(nil) else {
                throw GalleryError(message: "\(name) lists no ids and labels\(restore)")
            }
            ids += some.map { $0! }
            labels += words.map { $0! }
        }
    }

    /// How many rows there are.
    public var count: Int { ids.count }

    /// The nearest stored images of every query, by an exact search: every row is scored.
    ///
    /// - Parameters:
    ///   - query: embeddings that may search this gallery's space.
    ///   - k: hits wanted per query, at least 1; a smaller gallery gives all it has.
    /// - Returns: for each query its hits, best first; of equal scores the row that comes first wins.
    /// - Throws: IncompatibleSpaceError where the query may not search this gallery's space; VectorError where it has another
    ///   dimension; ConfigError where k is below 1.
    public func search(_ query: Embeddings, k: Int = 10) throws -> [[Hit]] {
        try query.requireCompatible(space)
        guard query.dim == dim else { throw VectorError(message: "found vectors of dimension \(query.dim), expected \(dim)") }
        guard k >= 1 else { throw ConfigError(message: "k is \(k), expected an integer of at least 1") }
        return (0..<query.count).map { row in
            best(Array(query.vectors[row * dim..<(row + 1) * dim]), min(k, count)).map {
                Hit(id: ids[$0.row], label: labels[$0.row], score: max(-1, min(1, $0.score)))
            }
        }
    }

    private func best(_ query: [Float], _ k: Int) -> [(row: Int, score: Float)] {
        var shares: [(part: Rows, first: Int, from: Int, to: Int)] = [], first = 0
        for part in parts {
            for from in stride(from: 0, to: part.count, by: Gallery.rowsPerThread) {
                shares.append((part, first, from, min(part.count, from + Gallery.rowsPerThread)))
            }
            first += part.count
        }
        var found = Best(k)
        let lock = NSLock()
        DispatchQueue.concurrentPerform(iterations: shares.count) { place in
            let share = shares[place]
            var own = Best(min(k, share.to - share.from))
            var numbers = [Float](repeating: 0, count: Rows.block * dim), scores = [Float](repeating: 0, count: Rows.block)
            for start in stride(from: share.from, to: share.to, by: Rows.block) {
                let rows = min(Rows.block, share.to - start)
                share.part.score(query, start, rows, &numbers, &scores)
                for row in 0..<rows { own.offer(scores[row], share.first + start + row) }
            }
            lock.lock()
            found.merge(own)
            lock.unlock()
        }
        return found.best()
    }
}

/// A file of a gallery, as its state records it.
private struct StoredFile {
    let name: String
    private let sha256: String
    private let bytes: Int

    init(_ value: Json?) throws {
        let of = try Fields(value, "a file", ["name", "sha256", "bytes"])
        name = try of.text("name", "a name that a gallery gives") { name in
            name.range(of: "^(vectors|rows|index)-[0-9]+-[0-9a-f]{16}\\.(npy|jsonl?|usearch|hnswlib|faiss)\\z", options: .regularExpression) != nil
        }
        sha256 = try of.text("sha256", "64 lower-case hexadecimal digits", isSHA256)
        bytes = try of.integer("bytes", 0, .max)
    }

    func content(in folder: URL) throws -> Data {
        try verified(folder.appendingPathComponent(name), sha256: sha256, bytes: bytes)
    }
}
