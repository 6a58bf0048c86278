import Foundation

/// The header of an array in numpy's .npy format, versions 1 to 3: the types that bundles and galleries hold, by rows.
struct Npy: CustomStringConvertible {
    static let widths = ["|u1": 1, "|i1": 1, "<f2": 2, "<f4": 4]

    /// As numpy has it, such as `<f4`.
    let type: String
    let shape: [Int]
    /// Where the numbers begin, in bytes.
    let start: Int

    /// Reads the header at the beginning of a file's content. Throws CorruptFileError for what is no such array, or is cut.
    init(_ content: Data, _ name: String) throws {
        func refused(_ why: String) -> CorruptFileError {
            CorruptFileError(message: "\(name) is no readable .npy file (\(why)); restore it from its source")
        }
        guard content.count >= 12, content.prefix(6).elementsEqual([0x93] + Array("NUMPY".utf8)) else { throw refused("it is none") }
        let version = content.number(6, 1), before = version == 1 ? 10 : 12
        let end = before + min(content.number(8, version == 1 ? 2 : 4), 1 << 16)
        guard (1...3).contains(version), end <= content.count else { throw refused("its header is cut or of another version") }
        let header = String(decoding: content[content.startIndex + before..<content.startIndex + end], as: UTF8.self)
        let form = try! NSRegularExpression(pattern: "^\\{'descr': '([^']{1,8})', 'fortran_order': (False|True), "
            + "'shape': \\(([0-9]{1,9}(?:, ?[0-9]{1,9})*),?\\), \\}\\s*$")
        let whole = NSRange(header.startIndex..., in: header)
        guard let found = form.firstMatch(in: header, range: whole), found.range == whole else {
            throw refused("its header says \(shortened(header))")
        }
        let parts = (1...3).map { String(header[Range(found.range(at: $0), in: header)!]) }
        guard let width = Npy.widths[parts[0]] else { throw refused("its numbers are \(shortened(parts[0]))") }
        type = parts[0]
        shape = parts[2].split(separator: ",").map { Int($0.trimmingCharacters(in: .whitespaces))! }
        start = end
        var bytes = width
        for axis in shape {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: axis)
            bytes = overflow ? .max : product
        }
        guard bytes <= content.count - start, parts[1] == "False" || shape.count == 1 else {
            throw refused("it is cut, or lies column by column")
        }
    }

    var description: String { "\(type) \(shape)" }

    /// All numbers of a small array of `|u1` or `<f4`.
    func floats(_ content: Data) -> [Float] {
        (0..<shape.reduce(1, *)).map {
            type == "<f4" ? Float(bitPattern: UInt32(content.number(start + 4 * $0, 4))) : Float(content.number(start + $0, 1))
        }
    }
}
