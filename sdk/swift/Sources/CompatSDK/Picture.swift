import Foundation

/// A decoded, upright picture.
public struct Picture {
    let data: [UInt8]
    let width: Int
    let height: Int
    let channels: Int

    /// Takes decoded pixels, row by row.
    ///
    /// - Parameters:
    ///   - data: `channels` bytes a pixel: 1 for grey, 3 for RGB, 4 for RGBA (not premultiplied), which is laid on white.
    ///   - width: pixels, at least 1.
    ///   - height: pixels, at least 1.
    /// - Throws: ImageError where the data have another length, or are of no such kind.
    public init(_ data: [UInt8], width: Int, height: Int, channels: Int) throws {
        let most = 178_956_970  // as in Python
        let sized = width >= 1 && height >= 1 && [1, 3, 4].contains(channels) && width <= most && height <= most / width
        guard sized, data.count == width * height * channels else {
            throw ImageError(message: "a picture has \(data.count) bytes for \(width) x \(height) pixels of \(channels) "
                + "channels; expected 1, 3 or 4 bytes a pixel, at most \(most) pixels")
        }
        self.data = data
        self.width = width
        self.height = height
        self.channels = channels
    }

    /// The pixels as RGB, 3 bytes each; transparency is laid on white, in Pillow's arithmetic.
    var rgb: [UInt8] {
        if channels == 3 { return data }
        var found = [UInt8](repeating: 0, count: 3 * width * height)
        for pixel in 0..<width * height {
            let from = pixel * channels
            let white = channels == 4 ? (255 - Int(data[from + 3])) * 128 : 0
            for one in 0..<3 {
                let value = Int(data[channels == 1 ? from : from + one])
                let sum = white * 255 + value * (255 * 128 - white) + 0x4000
                found[3 * pixel + one] = UInt8(white == 0 ? value : (((sum >> 8) + sum) >> 8) >> 7)
            }
        }
        return found
    }
}
