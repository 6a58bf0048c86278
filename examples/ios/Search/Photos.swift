import CompatSDK
import CoreGraphics
import Foundation
import ImageIO

/// Pictures by Apple's own decoder, which reads a JPEG at a fraction of its size as the Python runtime does.
enum Photos {
    /// The decoded picture as it lies in the file.
    static func decode(_ file: Data, _ preprocessing: Preprocessing) throws -> Picture {
        try decoded(source(file), preprocessing)
    }

    /// What the model sees of a file, upright.
    static func pixels(_ file: Data, _ preprocessing: Preprocessing) throws -> [UInt8] {
        let source = try source(file)
        let orientation = properties(source)[kCGImagePropertyOrientation] as? Int ?? 1
        return preprocessing.upright(preprocessing.toPixels(try decoded(source, preprocessing)), orientation: orientation)
    }

    private static func source(_ file: Data) throws -> CGImageSource {
        guard let source = CGImageSourceCreateWithData(file as CFData, nil), CGImageSourceGetCount(source) > 0 else {
            throw CocoaError(.fileReadCorruptFile)
        }
        return source
    }

    private static func properties(_ source: CGImageSource) -> [CFString: Any] {
        CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any] ?? [:]
    }

    private static func decoded(_ source: CGImageSource, _ preprocessing: Preprocessing) throws -> Picture {
        let known = properties(source)
        let width = known[kCGImagePropertyPixelWidth] as? Int ?? 0, height = known[kCGImagePropertyPixelHeight] as? Int ?? 0
        let isJPEG = CGImageSourceGetType(source) as String? == "public.jpeg"
        let scale = isJPEG ? preprocessing.draftScale(width: width, height: height) : 1
        let options = [kCGImageSourceSubsampleFactor: scale, kCGImageSourceShouldCache: false] as [CFString: Any]
        guard let image = CGImageSourceCreateImageAtIndex(source, 0, options as CFDictionary) else {
            throw CocoaError(.fileReadCorruptFile)
        }
        return try picture(image)
    }

    /// RGB on white. The picture keeps its own colour space where that is RGB: the model never saw a profile applied.
    private static func picture(_ image: CGImage) throws -> Picture {
        let own = image.colorSpace.flatMap { $0.model == .rgb && $0.supportsOutput ? $0 : nil }
        let space = own ?? CGColorSpace(name: CGColorSpace.sRGB)!
        let width = image.width, height = image.height
        var four = [UInt8](repeating: 255, count: 4 * width * height)
        let drawn = four.withUnsafeMutableBytes { bytes -> Bool in
            let context = CGContext(
                data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            context?.interpolationQuality = .none
            context?.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return context != nil
        }
        guard drawn else { throw CocoaError(.featureUnsupported) }
        var three = [UInt8](repeating: 0, count: 3 * width * height)
        for pixel in 0..<width * height {
            for channel in 0..<3 { three[3 * pixel + channel] = four[4 * pixel + channel] }
        }
        return try Picture(three, width: width, height: height, channels: 3)
    }
}
