import Foundation

/// A text that is equal to another one only if both have the same bytes.
///
/// Swift takes `é` written as one character and as two for the same text, and the Kelvin sign for `K`; a digest does not.
struct Text: Hashable, Comparable, ExpressibleByStringLiteral {
    let string: String

    init(_ string: String) { self.string = string }
    init(stringLiteral string: String) { self.string = string }

    static func == (one: Text, other: Text) -> Bool { one.string.utf8.elementsEqual(other.string.utf8) }
    static func < (one: Text, other: Text) -> Bool { one.string.utf8.lexicographicallyPrecedes(other.string.utf8) }
    func hash(into hasher: inout Hasher) { string.utf8.forEach { hasher.combine($0) } }
}

/// JSON whose digest was taken in Python: read strictly, and written as Python writes it.
///
/// JSONSerialization cannot serve: of a key that occurs twice it takes one in silence, and it does not say on every system
/// whether a number was 1 or 1.0, on which the digest of a document depends.
indirect enum Json: Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case large(UInt)  // beyond Int
    case number(Double)  // with a point or an exponent
    case text(Text)
    case list([Json])
    case object([Text: Json])

    static let largest = 64 << 20

    /// The object in a document. Throws CorruptFileError for what two readers could understand differently.
    static func object(_ data: Data, _ name: String) throws -> [Text: Json] {
        do {
            guard data.count <= largest else { throw Malformed("it has \(data.count) bytes, expected at most \(largest)") }
            guard case .object(let members) = try value(data) else { throw Malformed("it is no object") }
            return members
        } catch let error as Malformed {
            throw CorruptFileError(message: "\(name) is not valid JSON (\(error.why)); restore it from its source")
        }
    }

    /// The one value in bytes. Halves of surrogate pairs, which no Swift text can hold, are refused, or with `anyText`
    /// become U+FFFD.
    static func value(_ data: Data, anyText: Bool = false) throws -> Json {
        let bytes = [UInt8](data)
        guard String(decoding: bytes, as: UTF8.self).utf8.elementsEqual(bytes) else { throw Malformed("it is not UTF-8") }
        var reader = JsonReader(bytes: bytes, anyText: anyText)
        let found = try reader.value(0)
        guard reader.next() == nil else { throw reader.unexpected() }
        return found
    }

    /// The one text that stands for a value: keys sorted by code point, no spaces.
    var canonical: String { written(nil) }
    /// The same with an indent of 2 and a line end, as files have it.
    var indented: String { written("\n") + "\n" }

    /// The number, whether it is written as 1 or as 1.0; nil for what is none.
    var asNumber: Double? {
        switch self {
        case .integer(let value): return Double(value)
        case .large(let value): return Double(value)
        case .number(let value): return value
        default: return nil
        }
    }

    var asText: String? { if case .text(let text) = self { return text.string } else { return nil } }
    var asList: [Json]? { if case .list(let items) = self { return items } else { return nil } }
    var asObject: [Text: Json]? { if case .object(let members) = self { return members } else { return nil } }

    private func written(_ line: String?) -> String {
        switch self {
        case .null: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .large(let value): return String(value)
        case .number(let value): return Json.floatText(value)
        case .text(let text): return Json.quoted(text.string)
        case .list(let items): return Json.joined(items.map { $0.written(line.map { $0 + "  " }) }, "[", "]", line)
        case .object(let members):
            let colon = line == nil ? ":" : ": "
            let parts = members.sorted { $0.key < $1.key }.map {
                Json.quoted($0.key.string) + colon + $0.value.written(line.map { $0 + "  " })
            }
            return Json.joined(parts, "{", "}", line)
        }
    }

    private static func joined(_ parts: [String], _ open: String, _ close: String, _ line: String?) -> String {
        guard let line, !parts.isEmpty else { return open + parts.joined(separator: ",") + close }
        return open + parts.map { line + "  " + $0 }.joined(separator: ",") + line + close
    }

    private static func quoted(_ text: String) -> String {
        let known: [Unicode.Scalar: String] = [
            "\"": "\\\"", "\\": "\\\\", "\u{8}": "\\b", "\u{c}": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
        ]
        var out = "\""
        for scalar in text.unicodeScalars {
            if let short = known[scalar] {
                out += short
            } else if scalar.value < 32 {
                out += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }

    /// A float64 as Python's repr has it. Swift finds the same digits, and sets the point elsewhere.
    static func floatText(_ value: Double) -> String {
        let parts = abs(value).description.split(separator: "e")
        let mantissa = parts[0].split(separator: ".")
        let whole = mantissa[0] == "0" ? "" : String(mantissa[0])
        let fraction = mantissa.count < 2 || mantissa[1] == "0" ? "" : String(mantissa[1])
        var digits = whole + fraction
        var exponent = (parts.count > 1 ? Int(parts[1])! : 0) + whole.count - 1
        while digits.hasPrefix("0") { digits.removeFirst(); exponent -= 1 }
        while digits.hasSuffix("0") { digits.removeLast() }
        let sign = value.sign == .minus ? "-" : ""
        if digits.isEmpty { return sign + "0.0" }
        if exponent >= 16 || exponent < -4 {
            let rest = digits.count > 1 ? "." + digits.dropFirst() : ""
            return "\(sign)\(digits.prefix(1))\(rest)e\(exponent < 0 ? "-" : "+")\(abs(exponent) < 10 ? "0" : "")\(abs(exponent))"
        }
        if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
        let padded = digits + String(repeating: "0", count: max(0, exponent + 1 - digits.count))
        let after = padded.dropFirst(exponent + 1)
        return "\(sign)\(padded.prefix(exponent + 1)).\(after.isEmpty ? "0" : after)"
    }
}

/// Why bytes are no JSON that is read here.
struct Malformed: Error {
    let why: String
    init(_ why: String) { self.why = why }
}

private struct JsonReader {
    let bytes: [UInt8]
    let anyText: Bool
    var at = 0

    init(bytes: [UInt8], anyText: Bool) {
        self.bytes = bytes
        self.anyText = anyText
    }

    func unexpected() -> Malformed { Malformed("it goes on otherwise than JSON does at byte \(at)") }

    private func byte(_ place: Int) -> UInt8 { place < bytes.count ? bytes[place] : 0 }

    /// The next byte that is no space, which stays; nil at the end.
    mutating func next() -> UInt8? {
        while at < bytes.count, [32, 9, 10, 13].contains(bytes[at]) { at += 1 }
        return at < bytes.count ? bytes[at] : nil
    }

    private mutating func take(_ wanted: Character) -> Bool {
        guard next() == wanted.asciiValue else { return false }
        at += 1
        return true
    }

    private mutating func require(_ wanted: Character) throws { if !take(wanted) { throw unexpected() } }

    mutating func value(_ depth: Int) throws -> Json {
        guard depth <= 32 else { throw Malformed("it is nested more than 32 levels deep") }
        switch next() {
        case UInt8(ascii: "{"): return try members(depth)
        case UInt8(ascii: "["): return try items(depth)
        case UInt8(ascii: "\""): return .text(Text(try string()))
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: return try number()
        }
    }

    private mutating func members(_ depth: Int) throws -> Json {
        var found: [Text: Json] = [:]
        at += 1
        if take("}") { return .object(found) }
        repeat {
            guard next() == UInt8(ascii: "\"") else { throw unexpected() }
            let key = Text(try string())
            try require(":")
            guard found[key] == nil else { throw Malformed("a key occurs twice") }
            found[key] = try value(depth + 1)
        } while take(",")
        try require("}")
        return .object(found)
    }

    private mutating func items(_ depth: Int) throws -> Json {
        var found: [Json] = []
        at += 1
        if take("]") { return .list(found) }
        repeat { found.append(try value(depth + 1)) } while take(",")
        try require("]")
        return .list(found)
    }

    private mutating func string() throws -> String {
        var out: [UInt8] = []
        at += 1
        while byte(at) != UInt8(ascii: "\"") {
            guard byte(at) >= 32 else { throw unexpected() }
            if byte(at) == UInt8(ascii: "\\") {
                try escaped(into: &out)
            } else {
                out.append(bytes[at])
                at += 1
            }
        }
        at += 1
        return String(decoding: out, as: UTF8.self)
    }

    private mutating func escaped(into out: inout [UInt8]) throws {
        let known: [UInt8: UInt8] = [34: 34, 92: 92, 47: 47, 98: 8, 102: 12, 110: 10, 114: 13, 116: 9]
        if let plain = known[byte(at + 1)] {
            out.append(plain)
            at += 2
            return
        }
        var code = try unit()
        if code & 0xfc00 == 0xd800, byte(at) == UInt8(ascii: "\\"), byte(at + 1) == UInt8(ascii: "u") {
            let before = at
            let low = try unit()
            if low & 0xfc00 == 0xdc00 { code = 0x10000 + (code & 0x3ff) << 10 + low & 0x3ff } else { at = before }
        }
        let scalar = Unicode.Scalar(code)
        guard scalar != nil || anyText else { throw Malformed("it holds half of a surrogate pair") }
        out.append(contentsOf: String(Character(scalar ?? "\u{fffd}")).utf8)
    }

    /// The number of a `\uXXXX`.
    private mutating func unit() throws -> UInt32 {
        guard byte(at + 1) == UInt8(ascii: "u") else { throw unexpected() }
        var code: UInt32 = 0
        for place in at + 2..<at + 6 {
            guard let digit = Character(Unicode.Scalar(byte(place))).hexDigitValue else { throw unexpected() }
            code = code << 4 | UInt32(digit)
        }
        at += 6
        return code
    }

    private mutating func number() throws -> Json {
        let start = at
        if byte(at) == UInt8(ascii: "-") { at += 1 }
        _ = try digits()
        let first = byte(start) == UInt8(ascii: "-") ? start + 1 : start
        guard byte(first) != UInt8(ascii: "0") || at == first + 1 else { throw unexpected() }
        var whole = true
        if byte(at) == UInt8(ascii: "."), isDigit(byte(at + 1)) {
            whole = false
            at += 1
            _ = try digits()
        }
        if byte(at) | 32 == UInt8(ascii: "e") {
            let signed = [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(byte(at + 1))
            guard isDigit(byte(at + (signed ? 2 : 1))) else { throw unexpected() }
            whole = false
            at += signed ? 2 : 1
            _ = try digits()
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if whole {
            if let value = Int(text) { return .integer(value) }
            guard let value = UInt(text) else { throw Malformed("it holds a number of more than 64 bits") }
            return .large(value)
        }
        guard let value = Double(text), value.isFinite else { throw Malformed("it holds a number that is not finite") }
        return .number(value)
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte >= 48 && byte <= 57 }

    /// How many digits follow, at least one.
    private mutating func digits() throws -> Int {
        let start = at
        while isDigit(byte(at)) { at += 1 }
        guard at > start else { throw unexpected() }
        return at - start
    }

    private mutating func literal(_ word: String, _ value: Json) throws -> Json {
        guard bytes[at...].starts(with: word.utf8) else { throw unexpected() }
        at += word.utf8.count
        return value
    }
}
