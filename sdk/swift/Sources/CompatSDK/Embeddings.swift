import Foundation

/// Vectors that know the embedding space they were written in.
public struct Embeddings {
    /// Rows of `dim` numbers, each of unit length.
    public let vectors: [Float]
    /// Numbers per vector.
    public let dim: Int
    /// Space that they were written in.
    public let space: String
    /// Gallery spaces that they may search besides their own.
    public let searches: [String]

    /// Takes finite rows of unit length.
    ///
    /// - Throws: VectorError where they are not; ConfigError where a space's name is malformed.
    public init(_ vectors: [Float], dim: Int, space: String, searches: [String]) throws {
        guard dim >= 1, vectors.count % dim == 0 else {
            throw VectorError(message: "vectors are \(vectors.count) numbers; expected rows of \(dim)")
        }
        for row in 0..<vectors.count / dim where !Embeddings.isUnit(Embeddings.length(vectors[row * dim..<(row + 1) * dim])) {
            throw VectorError(message: "row \(row) is not finite and of unit length; divide each row by its length")
        }
        for one in [space] + searches { _ = try checkSpace(.text(Text(one))) }
        self.vectors = vectors
        self.dim = dim
        self.space = space
        self.searches = searches
    }

    /// How many vectors there are.
    public var count: Int { vectors.count / dim }

    /// Refuse a search whose scores would mean nothing, by an IncompatibleSpaceError.
    public func requireCompatible(_ gallerySpace: String) throws {
        guard space == gallerySpace || searches.contains(gallerySpace) else {
            let may = searches.isEmpty ? "no other space" : searches.joined(separator: ", ")
            throw IncompatibleSpaceError(message: "query vectors are in space \(space) and may search \(shortened(may)), but the "
                + "gallery is in space \(gallerySpace); embed the queries with a model that was trained for it")
        }
    }

    static func isUnit(_ length: Double) -> Bool { abs(length - 1) <= 1e-3 }
    /// Whether a row of this length has a direction.
    static func isDirected(_ length: Double) -> Bool { length > 0 && length.isFinite }

    static func length(_ row: some Sequence<Float>) -> Double { row.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() }

    /// Each row divided by its length.
    static func normalise(_ vectors: inout [Float], _ dim: Int) throws {
        for row in 0..<vectors.count / dim {
            let here = row * dim..<(row + 1) * dim, length = Float(Embeddings.length(vectors[here]))
            guard isDirected(Double(length)) else {
                throw VectorError(message: "image \(row) has no embedding: NaN, infinity or zeros alone; run the self-test")
            }
            for at in here { vectors[at] /= length }
        }
    }
}
