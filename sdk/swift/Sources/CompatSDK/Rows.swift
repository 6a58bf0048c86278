import Foundation

#if canImport(Accelerate)
import Accelerate
#endif

/// A run of a gallery's rows, mapped as they are stored, and scored without a copy of more than a block of them.
///
/// Of float16 and int8 one over the length of each row is kept beside it, 4 bytes a row.
struct Rows {
    static let block = 256

    let count: Int
    private let dim: Int
    private let type: String
    private let data: Data
    private let start: Int
    private var scale: [Float] = []

    /// The rows of a file that was compared with its digest; looks at each of them once.
    ///
    /// Throws GalleryError where it holds no such array, or a row that no index may see.
    init(_ data: Data, _ name: String, rows: Int, dim: Int, dtype: String) throws {
        let found = try Npy(data, name)
        let type = ["float32": "<f4", "float16": "<f2"][dtype, default: "|i1"]
        guard found.type == type, found.shape == [rows, dim] else {
            throw GalleryError(message: "\(name) holds \(found), expected \(dtype) \(rows) x \(dim)")
        }
        (count, self.dim, self.type, self.data, start) = (rows, dim, type, data, found.start)
        var numbers = [Float](repeating: 0, count: Rows.block * dim)
        for first in stride(from: 0, to: rows, by: Rows.block) {
            let here = min(Rows.block, rows - first)
            read(first, here, &numbers)
            for row in 0..<here {
                let length = Embeddings.length(numbers[row * dim..<(row + 1) * dim])
                guard type == "<f4" ? Embeddings.isUnit(length) : Embeddings.isDirected(length) else {
                    throw GalleryError(message: "row \(first + row) of \(name) is no vector that an index may see")
                }
                if type != "<f4" { scale.append(Float(1 / length)) }
            }
        }
    }

    /// Scores consecutive rows, at most a block of them: `out[row]` is the cosine of row `first + row`.
    ///
    /// Equal rows have equal scores wherever they lie.
    func score(_ query: [Float], _ first: Int, _ rows: Int, _ numbers: inout [Float], _ out: inout [Float]) {
        read(first, rows, &numbers)
        let whole = dim - dim % 8
        query.withUnsafeBufferPointer { query in
            numbers.withUnsafeBufferPointer { numbers in
                for row in 0..<rows {
                    let from = numbers.baseAddress! + row * dim
                    var sums = SIMD8<Float>()
                    var place = 0
                    while place < whole {
                        let one = UnsafeRawPointer(from + place).loadUnaligned(as: SIMD8<Float>.self)
                        let other = UnsafeRawPointer(query.baseAddress! + place).loadUnaligned(as: SIMD8<Float>.self)
                        sums += one * other
                        place += 8
                    }
                    var sum = sums.sum()
                    while place < dim {
                        sum += from[place] * query[place]
                        place += 1
                    }
                    out[row] = scale.isEmpty ? sum : sum * scale[first + row]
                }
            }
        }
    }

    /// Copies the numbers of consecutive rows, as they are stored.
    private func read(_ first: Int, _ rows: Int, _ out: inout [Float]) {
        let count = rows * dim, from = start + first * dim * Npy.widths[type]!
        data.withUnsafeBytes { bytes in
            let source = UnsafeRawBufferPointer(rebasing: bytes[from...])
            out.withUnsafeMutableBufferPointer { out in
                switch type {
                case "<f4":
                    UnsafeMutableRawBufferPointer(out).copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<(4 * count)]))
                case "<f2": Rows.widen(source, count, out.baseAddress!)
                default: for at in 0..<count { out[at] = Float(Int8(bitPattern: source[at])) }
                }
            }
        }
    }

    #if canImport(Accelerate)
    private static func widen(_ source: UnsafeRawBufferPointer, _ count: Int, _ out: UnsafeMutablePointer<Float>) {
        let from = UnsafeMutableRawPointer(mutating: source.baseAddress!), width = vImagePixelCount(count)
        var halves = vImage_Buffer(data: from, height: 1, width: width, rowBytes: 2 * count)
        var floats = vImage_Buffer(data: out, height: 1, width: width, rowBytes: 4 * count)
        vImageConvert_Planar16FtoPlanarF(&halves, &floats, 0)
    }
    #else
    private static func widen(_ source: UnsafeRawBufferPointer, _ count: Int, _ out: UnsafeMutablePointer<Float>) {
        halves.withUnsafeBufferPointer { values in
            for at in 0..<count { out[at] = values[Int(source[2 * at]) | Int(source[2 * at + 1]) << 8] }
        }
    }

    /// Value of each half float; NaN for infinity too, which no gallery holds.
    private static let halves: [Float] = (0..<UInt32(1 << 16)).map { bits in
        let value = Float(bitPattern: (bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * 0x1p112
        return bits & 0x7c00 == 0x7c00 ? .nan : value
    }
    #endif
}

/// The best rows so far. A score and its row are one number, which is larger the better: ties go to the lower row.
struct Best {
    private let k: Int
    private var kept: [Int64] = []
    private var floor = Int64.min

    init(_ k: Int) { self.k = k }

    mutating func offer(_ score: Float, _ row: Int) {
        let bits = Int32(bitPattern: (score + 0).bitPattern)  // -0 is 0
        add(Int64(bits ^ bits >> 31 & .max) << 32 | Int64(Int32.max - Int32(row)))
    }

    mutating func merge(_ other: Best) { other.kept.forEach { add($0) } }

    /// Row and score of the best k, best first.
    mutating func best() -> [(row: Int, score: Float)] {
        keepBest()
        return kept.map { key in
            let bits = Int32(truncatingIfNeeded: key >> 32)
            let row = Int(Int32.max - Int32(truncatingIfNeeded: key))
            return (row, Float(bitPattern: UInt32(bitPattern: bits ^ bits >> 31 & .max)))
        }
    }

    private mutating func add(_ key: Int64) {
        guard key > floor else { return }
        kept.append(key)
        if kept.count >= 2 * k { keepBest() }
    }

    /// Sort when twice as many as wanted have come: the cost is spread over all of them.
    private mutating func keepBest() {
        kept.sort(by: >)
        if kept.count > k { kept.removeLast(kept.count - k) }
        if kept.count == k, let last = kept.last { floor = last }
    }
}
