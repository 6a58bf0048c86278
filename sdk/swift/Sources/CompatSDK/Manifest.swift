import Foundation

/// What a bundle says about its model, checked as compat_sdk/bundle/manifest.py does.
public struct Manifest {
    /// Name of the model for people.
    public let name: String
    /// `query`, `gallery` or `side-info`; `transform` for a model of vectors.
    public let role: String
    /// Embedding space that it writes in.
    public let space: String
    /// Gallery spaces that its vectors may search, besides their own.
    public let searches: [String]
    /// Numbers per embedding.
    public let dim: Int
    /// What a client does to an image before a graph sees it; nil for a transform.
    public let preprocessing: Preprocessing?
    /// Millions of multiply-accumulates per image.
    public let mmacs: Double
    /// Counts the published versions of one name, from 1.
    public let release: Int
    /// Last day on which it is meant to be used, such as `2027-12-31`.
    public let expires: String?
    /// Exported forms of the model.
    public let graphs: [Graph]
    /// Names of all files but the manifest and a signature.
    public var fileNames: [String] { files.keys.map(\.string) }

    let files: [Text: FileRecord]

    /// Which file it must be.
    struct FileRecord {
        let sha256: String
        let bytes: Int

        init(_ value: Json?, _ what: String) throws {
            let of = try Fields(value, what, ["sha256", "bytes"])
            sha256 = try of.text("sha256", "64 lower-case hexadecimal digits", isSHA256)
            bytes = try of.integer("bytes", 0, .max)
        }
    }

    /// The manifest of a parsed manifest.json. Throws BundleError for another format or version, a digest that does not
    /// match, or a field that is missing, unknown or out of its range.
    init(_ value: [Text: Json]) throws {
        do {
            try self.init(checked: value)
        } catch let error as ConfigError {
            throw BundleError(message: "manifest.json is malformed: \(error.message)")
        }
    }

    private init(checked value: [Text: Json]) throws {
        try expect(value["format"] == .text("compat-sdk-bundle"), "format", shown(value["format"]), "compat-sdk-bundle")
        let old = value["version"] == .integer(2)
        try expect(old || value["version"] == .integer(3), "version", shown(value["version"]), "2 or 3; upgrade compat-sdk")
        let seal = sealOf(value)
        try expect(value["digest"] == .text(Text(seal)), "digest", shown(value["digest"]), seal + ": restore it from its source")
        let needed = [
            "format", "version", "digest", "name", "role", "space", "searches", "dim", "preprocessing", "tier", "mmacs",
            "mmacs_paper", "params_m", "license", "arch", "graphs", "created_by", "files", "source",
        ]
        let of = try Fields(.object(value), "manifest.json", needed + (old ? [] : ["identity", "certificates", "release", "expires"]))

        name = try of.printable("name", 120)
        _ = try of.text("tier", "a word", isWord)
        role = try of.oneOf("role", "query", "gallery", "side-info", "transform")
        space = try checkSpace(of["space"])
        searches = try of.list("searches").map(checkSpace)
        dim = try of.integer("dim", 1, 65536)
        mmacs = try of.number("mmacs", 0, .greatestFiniteMagnitude)
        try of.number("mmacs_paper", 0, .greatestFiniteMagnitude)
        try of.number("params_m", 0, .greatestFiniteMagnitude)
        _ = try of.text("license")
        _ = try of.text("created_by")
        let arch = try of.text("arch")
        release = old ? 1 : try of.integer("release", 1, Int(Int32.max))
        expires = of["expires"] == nil ? nil : try of.text("expires", "a day such as 2027-12-31, or none", isDay)
        preprocessing = try of["preprocessing"].map { try Preprocessing($0, "preprocessing") }
        let listed = try of.object("files", "records by name")
        try checkFiles(listed.keys.map(\.string))
        files = try Dictionary(uniqueKeysWithValues: listed.map { ($0.key, try FileRecord($0.value, "files." + $0.key.string)) })
        graphs = try of.list("graphs").map { try Graph($0, files: listed.keys.map(\.string)) }
        try expect(!graphs.isEmpty, "graphs", "none", "at least one exported form of the model")
        try checkRole(of)
        try checkIdentity(of, arch, old)
        if !old { try checkCertificates(of.list("certificates")) }
        let pictures = listed.keys.contains { $0.string.hasPrefix(Golden.pictures) }
        try expect(pictures || old || role == "transform", "files", "no golden picture",
                   "some: without them a self-test sees neither colour nor shape")
    }

    private func checkRole(_ of: Fields) throws {
        let searching = role == "query" || role == "gallery"
        try expect(searching || searches.isEmpty, "searches", shown(of["searches"]), "none of a \(role) model")
        let taken = role == "transform" ? try sourceInputs(of) : nil
        if taken == nil {
            try expect(of["source"] == nil && preprocessing != nil, "source", shown(of["source"]), "none, of images")
        }
        for graph in graphs {
            let fits = taken.map { $0 == graph.inputs } ?? (graph.inputs.count == 1)
            try expect(fits, "inputs", graph.inputs.joined(separator: ", "), taken?.joined(separator: ", ") ?? "one, the image")
            let plain = graph.layout == "nchw" && graph.values == "prepared"
            try expect(taken == nil || plain, "layout or values", graph.layout, "those of vectors")
        }
    }

    /// What a transform takes: it embeds no image, and is refused later, but not for what it says.
    private func sourceInputs(_ of: Fields) throws -> [String] {
        let source = try Fields(of["source"], "source", ["old_space", "old_dim"], more: ["side_space", "side_dim"])
        try expect(preprocessing == nil, "preprocessing", shown(of["preprocessing"]), "none of a transform")
        let side = source["side_space"] != nil
        try expect(side == (source["side_dim"] != nil), "side_dim", shown(source["side_dim"]), "both or neither")
        try expect(try checkSpace(source["old_space"]) != space, "old_space", space, "another one than the new model's")
        try source.integer("old_dim", 1, 65536)
        if side {
            _ = try checkSpace(source["side_space"])
            try source.integer("side_dim", 1, 65536)
        }
        return side ? ["old", "side"] : ["old"]
    }

    private func checkIdentity(_ of: Fields, _ arch: String, _ old: Bool) throws {
        let source = of["source"]?.asObject ?? [:]
        let spaces = searches + [space] + ["old_space", "side_space"].compactMap { source[$0]?.asText }
        try expect(!old || !spaces.contains(where: coversAll), "a space of version 2", spaces.joined(separator: ", "),
                   "a name as 0.7 gave them")
        if role == "transform" { return }  // it takes no images, and is refused for that
        guard let identity = of["identity"] else {
            return try expect(!coversAll(space), "identity", "null", "that of which space \(space) is the digest")
        }
        let own = try Fields(identity, "identity", ["weights", "arch", "dim", "preprocessing", "network", "output"])
        _ = try own.text("weights", "a SHA-256", isSHA256)
        _ = try own.text("output", "text") { !$0.isEmpty }
        _ = try own.text("arch", arch) { Text($0) == Text(arch) && !arch.isEmpty }
        try own.integer("dim", dim, dim)
        for one in try own.object("network", "settings by name").values {
            try expect(one.asText != nil || one.asNumber != nil, "identity.network", shown(one), "numbers and texts")
        }
        let inside = try Preprocessing(own["preprocessing"], "identity.preprocessing")
        let left = graphs.allSatisfy { preprocessing == inside.clientPart($0) }
        try expect(left, "preprocessing", shown(of["preprocessing"]), "what the identity and the graphs leave to a client")
        var covered = own.values
        covered["preprocessing"] = Preprocessing.canonical(own["preprocessing"]!.asObject!)
        covered["format"] = .text("compat-sdk-space")
        covered["version"] = .integer(1)
        let digest = sha256(Data(Json.object(covered).canonical.utf8))
        let named = arch.split(separator: ":", omittingEmptySubsequences: false)[0] + "-\(dim)-" + digest.prefix(16)
        try expect(Text(space) == Text(String(named)), "space", space, "\(named): a part of it was changed after it was named")
    }

    private func checkCertificates(_ values: [Json]) throws {
        var seen: Set<String> = []
        for value in values {
            let one = try Certificate(value)
            let ours = one.querySpace == space && searches.contains(one.gallerySpace)
            try expect(ours, "a certificate", "\(one.querySpace) in \(one.gallerySpace)", "this model and what it searches")
            let evaluation = one.gallerySpace + " " + one.data
            try expect(seen.insert(evaluation).inserted, "certificates", evaluation, "one of each gallery and data")
        }
    }
}

/// Whether a text is a day of the calendar, such as 2027-12-31.
private func isDay(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    let digits = bytes.enumerated().allSatisfy { $0 == 4 || $0 == 7 ? $1 == 45 : (48...57).contains($1) }
    guard bytes.count == 10, digits else { return false }
    let parts = text.split(separator: "-").map { Int($0)! }
    let leap = parts[0] % 4 == 0 && (parts[0] % 100 != 0 || parts[0] % 400 == 0)
    let days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return parts[0] >= 1 && (1...12).contains(parts[1]) && (1...days[parts[1] - 1]).contains(parts[2])
}

/// An evaluation that travels with a bundle, checked as compat_sdk/certificate.py does.
struct Certificate {
    let querySpace: String
    let gallerySpace: String
    let data: String

    init(_ value: Json) throws {
        let of = try Fields(value, "a certificate", [
            "format", "version", "digest", "query_space", "gallery_space", "data", "data_sha256", "splits", "created_by",
            "queries", "skipped", "gallery_size", "query_query", "query_gallery", "gallery_gallery", "rule_holds",
        ], more: ["rule"])
        _ = try of.oneOf("format", "compat-sdk-certificate")
        try of.integer("version", 1, 1)
        try expect(of["digest"] == .text(Text(sealOf(of.values))), "digest", shown(of["digest"]), "that of the certificate")
        querySpace = try checkSpace(of["query_space"])
        gallerySpace = try checkSpace(of["gallery_space"])
        try expect(querySpace != gallerySpace, "gallery_space", gallerySpace, "another space than the query's")
        data = try of.text("data_sha256", "a SHA-256", isSHA256)
        _ = try of.printable("data", 200)
        _ = try of.printable("created_by", 200)
        let splits = try of.list("splits")
        try expect(splits.count == 2 && splits.allSatisfy { $0.asText.map { isPrintable($0, 40) } == true }, "splits",
                   shown(of["splits"]), "the names of two")
        for (name, least) in [("queries", 1), ("skipped", 0), ("gallery_size", 1)] { try of.integer(name, least, (1 << 53) - 1) }
        let queryRule = "M(q,g) > M(q,q)"
        let rule = of.has("rule") ? try of.oneOf("rule", queryRule, "M(new,old) > M(old,old)") : queryRule
        let top1 = try ["query_query", "query_gallery", "gallery_gallery"].map { name in
            let of = try Fields(of[name], "an accuracy", ["top1", "top5", "top10", "map"])
            for one in ["top5", "top10", "map"] { try of.number(one, 0, 1) }
            return try of.number("top1", 0, 1)
        }
        let holds = top1[1] > (rule == queryRule ? top1[0] : top1[2])
        try expect(of["rule_holds"] == .bool(holds), "rule_holds", shown(of["rule_holds"]), "\(holds), as the figures say")
    }
}
