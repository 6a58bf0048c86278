import Foundation

let manifestName = "manifest.json"
let outsideManifest = [manifestName, "signature.json"]

/// Whether a text is 1 to 120 of the characters A-Z a-z 0-9 . _ -
func isWord(_ text: String) -> Bool {
    (1...120).contains(text.utf8.count) && text.utf8.allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || [45, 46, 95].contains($0)
    }
}

/// Refuse what is no space identifier.
func checkSpace(_ value: Json?) throws -> String {
    try expect(value?.asText.map(isWord) == true, "a space", shown(value), "1 to 120 of the characters A-Z a-z 0-9 . _ -")
    return value!.asText!
}

/// Whether a space's name is a digest of everything that decides a vector.
func coversAll(_ space: String) -> Bool {
    let parts = space.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count >= 3, parts[0..<parts.count - 2].joined(separator: "-") != "" else { return false }
    let digits = parts[parts.count - 2].utf8, digest = parts[parts.count - 1].utf8
    let isDigest = digest.count == 16 && digest.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    return isDigest && !digits.isEmpty && digits.allSatisfy { (48...57).contains($0) }
}

/// Whether a desktop left a file of this name in a folder that was looked at.
func isLitter(_ name: String) -> Bool {
    let known = [".ds_store", ".localized", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"]
    return name.hasPrefix("._") || known.contains(name.lowercased())
}

/// Refuse a file's name that is not plain and relative, or that means another file on another system.
@discardableResult
func checkFile(_ value: Json?) throws -> String {
    let name = value?.asText ?? ""
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    let plain = name.utf8.count <= 240 && parts.allSatisfy {
        isWord(String($0)) && !$0.hasPrefix(".") && !$0.hasSuffix(".") && !isDevice($0.lowercased())
    }
    let free = plain && !outsideManifest.contains(name.lowercased())
    try expect(free, "a file's name", shown(value), "a plain relative one such as model.onnx or golden/images.npy")
    return name
}

private func isDevice(_ part: String) -> Bool {
    let stem = part.prefix { $0 != "." }
    if ["con", "prn", "aux", "nul"].contains(stem) { return true }
    return stem.count == 4 && (stem.hasPrefix("com") || stem.hasPrefix("lpt")) && stem.last!.isNumber
}

/// Refuse files that cannot lie in one folder on every system.
func checkFiles(_ names: [String]) throws {
    var files: Set<String> = [], folders: [String: String] = [:]
    for name in names.sorted(by: { Text($0) < Text($1) }) {
        try checkFile(.text(Text(name)))
        try expect(files.insert(name.lowercased()).inserted, "a file's name", name, "no other one in upper or lower case")
        let parts = name.split(separator: "/")
        for depth in 1..<max(1, parts.count) {
            let folder = parts.prefix(depth).joined(separator: "/")
            let known = folders.updateValue(folder, forKey: folder.lowercased())
            try expect(known == nil || known == folder, "a folder's name", name, "one in upper or lower case")
        }
    }
    let both = files.intersection(folders.keys)
    try expect(both.isEmpty, "a name", both.sorted().joined(separator: ", "), "a file or a folder, not both")
}
