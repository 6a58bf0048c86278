import Foundation

/// What is done to an image before a model sees it, as a manifest says it.
public struct Preprocessing: Equatable {
    /// Side of the square input, in pixels.
    public let size: Int
    /// `crop` keeps the middle square, `stretch` the whole picture.
    public let fit: String
    /// Kernel: `box`, `bilinear`, `bicubic` or `lanczos`.
    public let resize: String
    /// How many times `size` a JPEG keeps at least while it is decoded; 0 decodes in full.
    public let draft: Int
    /// Part of the picture's sides that is kept.
    public let crop: Double
    /// Of the channels red, green, blue, from 0 to 1.
    public let mean: [Double]
    /// Deviation of the same.
    public let std: [Double]
    /// Order of the channels in the input: `rgb` or `bgr`.
    public let channels: String

    /// The preprocessing of parsed JSON. Throws ConfigError for a field that is missing, unknown or out of its range.
    init(_ value: Json?, _ what: String) throws {
        let of = try Fields(value, what, ["size", "fit", "resize", "draft", "mean", "std", "channels"], more: ["crop"])
        size = try of.integer("size", 1, 4096)
        draft = try of.integer("draft", 0, 64)
        fit = try of.oneOf("fit", "crop", "stretch")
        resize = try of.oneOf("resize", "box", "bilinear", "bicubic", "lanczos")
        channels = try of.oneOf("channels", "rgb", "bgr")
        crop = of.has("crop") ? try of.number("crop", .leastNonzeroMagnitude, 1) : 1
        mean = try Preprocessing.three(of, "mean", -.greatestFiniteMagnitude)
        std = try Preprocessing.three(of, "std", .leastNonzeroMagnitude)
    }

    private init(insideGraph of: Preprocessing) {
        (size, draft, crop) = (of.size, of.draft, of.crop)
        (fit, resize, channels) = (of.fit, of.resize, "rgb")
        mean = [0, 0, 0]
        std = [Double](repeating: 1.0 / 255.0, count: 3)
    }

    private static func three(_ of: Fields, _ name: String, _ low: Double) throws -> [Double] {
        let found = try of.list(name).map(\.asNumber)
        let fits = found.count == 3 && found.allSatisfy { $0.map { $0 >= low } == true }
        try expect(fits, of.label(name), shown(of[name]), "three numbers of at least \(low)")
        return found.map { $0! }
    }

    /// How an identity has a preprocessing: its numbers are floats there, and a crop of 1 is left out.
    static func canonical(_ given: [Text: Json]) -> Json {
        var found = given
        for name: Text in ["mean", "std"] { found[name] = .list(given[name]!.asList!.map { .number($0.asNumber!) }) }
        found["crop"] = given["crop"]?.asNumber.flatMap { $0 == 1 ? nil : .number($0) }
        return .object(found)
    }

    /// What a client does for a graph.
    func clientPart(_ graph: Graph) -> Preprocessing {
        graph.values == "pixels" ? Preprocessing(insideGraph: self) : self
    }

    /// By how much a JPEG of this size may be scaled down while it is decoded: 1, 2, 4 or 8.
    ///
    /// The trained model saw JPEGs decoded so.
    public func draftScale(width: Int, height: Int) -> Int {
        guard draft > 0 else { return 1 }
        let least = Int((Double(draft * size) / crop).rounded(.up))
        let room = min(width / least, height / least)
        return room >= 8 ? 8 : room >= 4 ? 4 : room >= 2 ? 2 : 1
    }

    /// A picture as the pixels that a model sees: size * size * 3 bytes, RGB.
    public func toPixels(_ picture: Picture) -> [UInt8] {
        var data = picture.rgb
        if picture.width == size && picture.height == size && picture.channels == 3 { return data }
        let width = Double(picture.width), height = Double(picture.height)
        var keptWidth = width * crop, keptHeight = height * crop
        if fit == "crop" { (keptWidth, keptHeight) = (min(keptWidth, keptHeight), min(keptWidth, keptHeight)) }
        let left = (width - keptWidth) / 2, top = (height - keptHeight) / 2
        if left != 0 || keptWidth != width || picture.width != size {  // the rows first: the two orders round apart
            data = Resize(resize, picture.width, left, left + keptWidth, size).rows(data, picture.height)
        }
        if top != 0 || keptHeight != height || picture.height != size {
            data = Resize(resize, picture.height, top, top + keptHeight, size).columns(data, size)
        }
        return data
    }

    /// What `toPixels` made, turned upright by the orientation that a camera notes in EXIF: 1 to 8.
    ///
    /// The small square is turned, and not the whole photo before it: so does the Python runtime.
    public func upright(_ pixels: [UInt8], orientation: Int) -> [UInt8] {
        guard (2...8).contains(orientation), pixels.count == 3 * size * size else { return pixels }
        let swapped = orientation >= 5, last = size - 1
        let fromRight = [2, 3, 7, 8].contains(orientation), fromBelow = [3, 4, 6, 7].contains(orientation)
        return (0..<size * size).flatMap { place in
            let row = place / size, column = place % size
            let across = swapped ? row : column, down = swapped ? column : row
            let from = 3 * ((fromBelow ? last - down : down) * size + (fromRight ? last - across : across))
            return pixels[from..<from + 3]
        }
    }

    /// Pixels as what a graph is given: `(pixel / 255 - mean) / std`, 1 x 3 x size x size or as its layout says.
    ///
    /// - Throws: ImageError where the pixels have another length than `toPixels` gives.
    public func toInput(_ pixels: [UInt8], _ graph: Graph) throws -> [Float] {
        let part = clientPart(graph), area = size * size
        guard pixels.count == 3 * area else {
            throw ImageError(message: "pixels are \(pixels.count) bytes; expected \(size) x \(size) x 3")
        }
        let asTheyAre = part == Preprocessing(insideGraph: self)
        var input = [Float](repeating: 0, count: pixels.count)
        for channel in 0..<3 {
            let line = (0..<256).map { level in
                asTheyAre ? Float(level) : (Float(level) / 255 - Float(part.mean[channel])) / Float(part.std[channel])
            }
            let place = part.channels == "rgb" ? channel : 2 - channel
            for pixel in 0..<area {
                let to = graph.layout == "nhwc" ? 3 * pixel + place : place * area + pixel
                input[to] = line[Int(pixels[3 * pixel + channel])]
            }
        }
        return input
    }
}

/// One pass of Pillow's resize: where each new pixel begins to look, and how much it takes of each pixel from there.
private struct Resize {
    private static let bits = 22  // of a weight's fraction, as in Pillow

    private let side: Int
    private var starts: [Int] = []
    private var weights: [[Int32]] = []

    /// A line of `side` pixels, of which the part between two places becomes `count` pixels.
    init(_ kernel: String, _ side: Int, _ from: Double, _ to: Double, _ count: Int) {
        self.side = side
        let start = Double(Float(from))  // Pillow hands a box on as float32
        let scale = Double(Float(to) - Float(from)) / Double(count)
        let wide = max(scale, 1)
        let reach = ["box": 0.5, "bilinear": 1, "bicubic": 2][kernel, default: 3] * wide
        for place in 0..<count {
            let centre = start + (Double(place) + 0.5) * scale
            let first = max(0, Int(centre - reach + 0.5))
            let window = first..<max(first, min(side, Int(centre + reach + 0.5)))
            let found = window.map { Resize.weight(kernel, (Double($0) - centre + 0.5) * (1 / wide)) }
            let sum = found.reduce(0, +)
            let whole = sum == 0 ? 1 : sum
            starts.append(first)
            weights.append(found.map { Int32($0 / whole * Double(1 << Resize.bits) + ($0 / whole < 0 ? -0.5 : 0.5)) })
        }
    }

    /// RGB with each of its `height` rows made anew.
    func rows(_ data: [UInt8], _ height: Int) -> [UInt8] {
        var found = [UInt8](repeating: 0, count: 3 * starts.count * height)
        for line in 0..<height {
            for place in starts.indices {
                pixel(data, 3 * (line * side + starts[place]), 3, place, &found, 3 * (line * starts.count + place))
            }
        }
        return found
    }

    /// RGB with each of its `width` columns made anew.
    func columns(_ data: [UInt8], _ width: Int) -> [UInt8] {
        var found = [UInt8](repeating: 0, count: 3 * starts.count * width)
        for place in starts.indices {
            for line in 0..<width {
                pixel(data, 3 * (starts[place] * width + line), 3 * width, place, &found, 3 * (place * width + line))
            }
        }
        return found
    }

    private func pixel(_ data: [UInt8], _ from: Int, _ step: Int, _ place: Int, _ out: inout [UInt8], _ to: Int) {
        for channel in 0..<3 {
            var sum: Int32 = 1 << (Resize.bits - 1)
            var at = from + channel
            for weight in weights[place] {
                sum &+= Int32(data[at]) &* weight
                at += step
            }
            out[to + channel] = UInt8(min(255, max(0, sum >> Resize.bits)))
        }
    }

    private static func weight(_ kernel: String, _ x: Double) -> Double {
        let far = abs(x)
        switch kernel {
        case "box": return x > -0.5 && x <= 0.5 ? 1 : 0
        case "bilinear": return max(0, 1 - far)
        case "bicubic":
            return far < 1 ? (1.5 * far - 2.5) * far * far + 1 : far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0
        default: return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0
        }
    }

    private static func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }
}
