import Foundation

/// An object of parsed JSON, its values read by type and range. What does not fit is a ConfigError that names it.
struct Fields {
    let values: [Text: Json]
    private let what: String

    /// The object that has every field of `needed`, and others from `more` alone.
    init(_ value: Json?, _ what: String, _ needed: [String], more: [String] = []) throws {
        let members = value?.asObject
        let keys = Set((members ?? [:]).keys)
        let known = Set((needed + more).map { Text($0) })
        let fits = members != nil && keys.isSuperset(of: needed.map { Text($0) }) && known.isSuperset(of: keys)
        let found = members == nil ? shown(value) : keys.sorted().map(\.string).joined(separator: ", ")
        try expect(fits, what, shortened(found), "exactly the fields " + needed.joined(separator: ", "))
        values = members!
        self.what = what
    }

    /// The value, or nil for none and for null.
    subscript(name: String) -> Json? {
        let value = values[Text(name)]
        return value == .null ? nil : value
    }

    func has(_ name: String) -> Bool { values[Text(name)] != nil }
    func label(_ name: String) -> String { what.isEmpty ? name : what + "." + name }

    func text(_ name: String, _ expected: String = "text", _ fits: (String) -> Bool = { _ in true }) throws -> String {
        let text = self[name]?.asText
        try expect(text.map(fits) == true, label(name), shown(self[name]), expected)
        return text!
    }

    func printable(_ name: String, _ most: Int) throws -> String {
        try text(name, "1 to \(most) printable characters") { isPrintable($0, most) }
    }

    func oneOf(_ name: String, _ choices: String...) throws -> String {
        try text(name, choices.joined(separator: " or ")) { found in choices.contains { Text($0) == Text(found) } }
    }

    /// An integer in a range; 1.0 and true are none.
    @discardableResult
    func integer(_ name: String, _ low: Int, _ high: Int) throws -> Int {
        var found: Int?
        if case .integer(let value)? = self[name], value >= low, value <= high { found = value }
        try expect(found != nil, label(name), shown(self[name]), "an integer from \(low) to \(high)")
        return found!
    }

    /// A number in a range, whether it is written as 1 or as 1.0.
    @discardableResult
    func number(_ name: String, _ low: Double, _ high: Double) throws -> Double {
        let found = self[name]?.asNumber
        try expect(found.map { $0 >= low && $0 <= high } == true, label(name), shown(self[name]), "a number from \(low) to \(high)")
        return found!
    }

    func list(_ name: String) throws -> [Json] {
        let found = self[name]?.asList
        try expect(found != nil, label(name), shown(self[name]), "a list")
        return found!
    }

    func object(_ name: String, _ expected: String) throws -> [Text: Json] {
        let found = self[name]?.asObject
        try expect(found != nil, label(name), shown(self[name]), expected)
        return found!
    }
}

func expect(_ holds: Bool, _ label: String, _ found: String, _ expected: String) throws {
    if !holds { throw ConfigError(message: "\(shortened(label)) is \(found); expected \(shortened(expected, 160))") }
}

/// How an error shows a value that it found: on one line, shortened.
func shown(_ value: Json?) -> String { shortened((value ?? .null).canonical) }

func shortened(_ text: String, _ most: Int = 80) -> String {
    let safe = text.unicodeScalars.map { isUnsafe($0) ? "\\?" : String(Character($0)) }.joined()
    return safe.count <= most ? safe : safe.prefix(most - 28) + "..." + safe.suffix(25)
}

func isPrintable(_ text: String, _ most: Int) -> Bool {
    let spaces: [Unicode.GeneralCategory] = [.spaceSeparator, .lineSeparator, .paragraphSeparator]
    let fits = text.unicodeScalars.allSatisfy {
        $0 == " " || !(isUnsafe($0) || spaces.contains($0.properties.generalCategory))
    }
    return fits && !text.isEmpty && text.unicodeScalars.count <= most
}

private func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
    let unsafe: [Unicode.GeneralCategory] = [
        .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
    ]
    return unsafe.contains(scalar.properties.generalCategory)
}

func isSHA256(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
}
