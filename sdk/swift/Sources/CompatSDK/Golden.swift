import Foundation

/// Golden files: a few pictures inside each bundle, and what the trained model makes of them; see bundle/golden.py.
struct Golden {
    static let pictures = "golden/pictures/"
    private static let leastCosines = [
        "int8": 0.99, "palette8": 0.99, "palette6": 0.97, "int8-static": 0.9, "int4": 0.9, "palette4": 0.9,
    ]
    private static let bound = 0.999

    /// Names of the pictures, in the order of their rows; the first rows are theirs.
    let names: [String]
    /// Pixels of each row, size * size * 3.
    let images: [[UInt8]]
    private let inputs: [Float]
    private let embeddings: [Float]
    private let dim: Int

    /// The golden files of a bundle of a model of images. Throws BundleError where they do not fit the manifest.
    init(_ bundle: ModelBundle) throws {
        let size = bundle.manifest.preprocessing!.size, bytes = size * size * 3
        dim = bundle.manifest.dim
        names = bundle.manifest.fileNames.filter { $0.hasPrefix(Golden.pictures) }.sorted { Text($0) < Text($1) }
        for (row, name) in names.enumerated() {
            let wanted = Golden.pictures + (row < 10 ? "0" : "") + "\(row)"
            guard row < 16, name == wanted + ".jpg" || name == wanted + ".png" else {
                throw BundleError(message: "a golden picture is \(name); expected 00.jpg or 00.png and so on, at most 16")
            }
        }
        let content = try bundle.read("golden/images.npy")
        let found = try Golden.array(content, "images", "|u1", [nil, size, size, 3]), rows = found.shape[0]
        guard rows > 0, rows >= names.count else {
            throw BundleError(message: "\(names.count) golden pictures and \(rows) images; export the model again")
        }
        images = (0..<rows).map { Array(content[found.start + $0 * bytes..<found.start + ($0 + 1) * bytes]) }
        inputs = names.isEmpty ? [] : try Golden.numbers(bundle, "inputs", [rows, 3, 2])
        embeddings = try Golden.numbers(bundle, "embeddings", [rows, dim])
    }

    private static func array(_ content: Data, _ name: String, _ type: String, _ shape: [Int?]) throws -> Npy {
        let found = try Npy(content, "golden/\(name).npy")
        let fits = found.type == type && found.shape.count == shape.count
        guard fits, zip(found.shape, shape).allSatisfy({ $1 == nil || $0 == $1 }) else {
            throw BundleError(message: "golden \(name) are \(found), not what the manifest says; export the model again")
        }
        return found
    }

    private static func numbers(_ bundle: ModelBundle, _ name: String, _ shape: [Int]) throws -> [Float] {
        let content = try bundle.read("golden/\(name).npy")
        let found = try array(content, name, "<f4", shape).floats(content)
        guard found.allSatisfy(\.isFinite) else {
            throw BundleError(message: "golden \(name) hold NaN or infinity; export the model again")
        }
        return found
    }

    /// Smallest cosine that a graph is held to.
    static func minCosine(_ graph: Graph) -> Double { graph.minCosine ?? leastCosines[graph.precision, default: bound] }

    /// Compare what a picture becomes here with what it became for the trained model.
    func comparePixels(_ row: Int, _ found: [UInt8]) throws {
        let lossy = names[row].hasSuffix(".jpg")
        let off = zip(found, images[row]).map { abs(Int($0) - Int($1)) }
        let most = off.max() ?? 0, mean = Double(off.reduce(0, +)) / Double(max(1, off.count))
        guard found.count == images[row].count, most <= (lossy ? 4 : 1), mean <= (lossy ? 0.5 : 0.05) else {
            throw CheckFailedError(message: "\(names[row]) becomes pixels that differ from the trained model's by up to \(most) "
                + "levels, \(mean) in the mean: it is decoded otherwise here")
        }
    }

    /// Compare mean and deviation of each channel of one graph input with those of the trained model's.
    func compareInput(_ row: Int, _ input: [Float], _ layout: String) throws {
        if inputs.isEmpty { return }
        let largest = Double(inputs.map(abs).max()!), area = input.count / 3
        for channel in 0..<3 {
            let own = (0..<area).map { Double(input[layout == "nhwc" ? 3 * $0 + channel : channel * area + $0]) }
            let mean = own.reduce(0, +) / Double(area)
            let deviation = (own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(area)).squareRoot()
            let place = 6 * row + 2 * channel
            let off = max(abs(mean - Double(inputs[place])), abs(deviation - Double(inputs[place + 1])))
            guard off <= 2e-5 * largest else {
                throw CheckFailedError(message: "golden images become an input whose mean or deviation differs from the "
                    + "trained model's by \(off); export the model again")
            }
        }
    }

    /// Cosine of each row to the trained model's vector.
    func cosines(_ found: Embeddings) -> [Double] {
        (0..<found.count).map { row in
            let here = row * dim..<(row + 1) * dim
            let product = here.reduce(0) { $0 + Double(found.vectors[$1]) * Double(embeddings[$1]) }
            let length = Embeddings.length(embeddings[here])
            return product / (length == 0 ? 1 : length)
        }
    }

    /// Refuse a graph that does better with the channels of the golden pictures in another order: a low bound lets
    /// mixed-up colours through.
    func compareOrders(_ right: [Double], bound: Double, embed: ([[UInt8]]) throws -> Embeddings) throws {
        guard bound < Golden.bound, !names.isEmpty else { return }
        func error(_ cosines: [Double]) -> Double { 1 - cosines.prefix(names.count).reduce(0, +) / Double(names.count) }
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mixed = images.prefix(names.count).map { row in row.indices.map { row[$0 - $0 % 3 + order[$0 % 3]] } }
            guard error(cosines(try embed(mixed))) >= 0.75 * error(right) else {
                throw CheckFailedError(message: "golden pictures with their channels in another order come closer to the "
                    + "trained model's vectors than as they are; export the model again")
            }
        }
    }
}
