import Foundation

/// What goes into an engine and comes out of it: float32 numbers and their shape.
public struct Tensor {
    /// Sizes of the axes.
    public let shape: [Int]
    /// All numbers, the last axis fastest.
    public let values: [Float]

    public init(shape: [Int], values: [Float]) {
        self.shape = shape
        self.values = values
    }
}

/// What runs a bundle's graph: `CoreMLEngine` where there is Core ML, or an app's own.
///
/// An engine is given the bytes of a graph that was verified, `ModelBundle.read`, and never a path.
public protocol Engine {
    /// Its name, for messages.
    var name: String { get }
    /// Runs the graph on float32 n x 3 x size x size or n x size x size x 3, as the graph's layout says: n x dim.
    func run(_ images: Tensor) throws -> Tensor
}

/// Embeds images with the model of one bundle: its preprocessing and an engine behind one call.
public struct Embedder {
    /// The bundle.
    public let bundle: ModelBundle
    private let graph: Graph
    private let engine: any Engine
    private let preprocessing: Preprocessing

    /// An embedder of a bundle by an engine that has loaded this graph of it.
    public init(_ bundle: ModelBundle, _ graph: Graph, _ engine: any Engine) {
        self.bundle = bundle
        self.graph = graph
        self.engine = engine
        preprocessing = bundle.manifest.preprocessing!  // a bundle without one does not open
    }

    /// One unit vector per picture, in order.
    ///
    /// - Throws: VectorError where the model gave NaN, infinity or zeros; BundleError where the graph failed, or gave another
    ///   shape than the manifest says.
    public func embed(_ pictures: [Picture]) throws -> Embeddings {
        try embedPixels(pictures.map(preprocessing.toPixels))
    }

    /// The same of pixels that `Preprocessing.toPixels` made.
    public func embedPixels(_ pixels: [[UInt8]]) throws -> Embeddings {
        let dim = bundle.manifest.dim, batch = graph.batch ?? 1
        var vectors: [Float] = []
        for first in stride(from: 0, to: pixels.count, by: batch) {
            // The last batch is filled up with its last row.
            let rows = (first..<first + batch).map { pixels[min($0, pixels.count - 1)] }
            let found = try run(rows.flatMap { try preprocessing.toInput($0, graph) }, batch)
            vectors += found.prefix(min(batch, pixels.count - first) * dim)
        }
        try Embeddings.normalise(&vectors, dim)
        return try Embeddings(vectors, dim: dim, space: bundle.manifest.space, searches: bundle.manifest.searches)
    }

    private func run(_ values: [Float], _ batch: Int) throws -> [Float] {
        let size = preprocessing.size, wanted = [batch, bundle.manifest.dim]
        let shape = graph.layout == "nhwc" ? [batch, size, size, 3] : [batch, 3, size, size]
        let found: Tensor
        do {
            found = try engine.run(Tensor(shape: shape, values: values))
        } catch let error as any CompatError {
            throw error
        } catch {
            throw BundleError(message: "\(engine.name) failed on input \(shape): \(shortened("\(error)", 160))")
        }
        guard found.shape == wanted, found.values.count == batch * bundle.manifest.dim else {
            throw BundleError(message: "\(engine.name) gave \(found.shape), expected \(wanted); the manifest of "
                + "\(bundle.url.path) does not fit its graph")
        }
        return found.values
    }

    /// Embed the golden pictures here, from their bytes, and compare pixels, inputs and vectors with the trained model's.
    ///
    /// - Parameter decode: reads the bytes of a JPEG or PNG, upright, a JPEG scaled down by `Preprocessing.draftScale` at
    ///   most; nil begins at the pixels.
    /// - Returns: the worst cosine, 1 at best.
    /// - Throws: CheckFailedError where one of them differs by more than the graph's precision allows.
    @discardableResult
    public func selfTest(decode: ((Data, Preprocessing) throws -> Picture)?) throws -> Double {
        let golden = try Golden(bundle)
        var pixels = golden.images
        for row in pixels.indices {
            try golden.compareInput(row, preprocessing.toInput(pixels[row], graph), graph.layout)
            if let decode, row < golden.names.count {
                pixels[row] = preprocessing.toPixels(try decode(bundle.read(golden.names[row]), preprocessing))
                try golden.comparePixels(row, pixels[row])
            }
        }
        let cosines = golden.cosines(try embedPixels(pixels))
        let worst = cosines.min() ?? .nan, bound = Golden.minCosine(graph)
        guard worst >= bound else {
            throw CheckFailedError(message: "\(engine.name) turns a golden row of \(bundle.url.path) into a vector with cosine "
                + "\(worst) to the trained model's, expected at least \(bound); use another engine")
        }
        try golden.compareOrders(cosines, bound: bound, embed: embedPixels)
        return worst
    }
}
