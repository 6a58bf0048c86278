import CompatSDK
import Foundation

/// The model and the gallery of this app, verified, and what a search with one picture finds.
actor Search {
    /// What a search found, and how many milliseconds each of its parts took.
    struct Found {
        let hits: [Hit]
        let decode: Double
        let embed: Double
        let search: Double
    }

    /// How many pictures can be found.
    nonisolated let count: Int
    private let embedder: Embedder
    private let gallery: Gallery

    /// Opens both; everything that a search uses is compared with its digest, and the model proves itself here.
    ///
    /// `query.bundle` and `photos.gallery` are folders among the app's resources. They are plain files there, so that the
    /// gallery is mapped where it lies.
    init() throws {
        guard let files = Foundation.Bundle.main.resourceURL else { throw CocoaError(.fileNoSuchFile) }
        let bundle = try ModelBundle(files.appendingPathComponent("query.bundle"))
        let graph = try bundle.graph("coreml")
        gallery = try Gallery(files.appendingPathComponent("photos.gallery"))
        embedder = Embedder(bundle, graph, try CoreMLEngine(bundle, graph))
        try embedder.selfTest(decode: Photos.decode)
        count = gallery.count
    }

    /// The pictures of the gallery that are nearest to one, best first.
    func find(_ file: Data) throws -> Found {
        let start = Date()
        let pixels = try Photos.pixels(file, embedder.bundle.manifest.preprocessing!)
        let decoded = Date()
        let query = try embedder.embedPixels([pixels])
        let embedded = Date()
        let hits = try gallery.search(query, k: 20)[0]
        let ended = Date()
        return Found(hits: hits, decode: 1000 * decoded.timeIntervalSince(start), embed: 1000 * embedded.timeIntervalSince(decoded),
                     search: 1000 * ended.timeIntervalSince(embedded))
    }
}
