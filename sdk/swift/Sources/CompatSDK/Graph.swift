/// One exported form of a bundle's model.
public struct Graph {
    /// Format, such as `coreml` or `onnx`.
    public let target: String
    /// Of the weights, such as `fp16`.
    public let precision: String
    /// Name inside the bundle: a file, or a folder of some.
    public let file: String
    /// Names of the graph's inputs: one, the image's.
    public let inputs: [String]
    /// Name of the graph's output, float32 n x dim.
    public let output: String
    /// The one number of images that the graph takes, or nil for any.
    public let batch: Int?
    /// Order of an image's axes: `nchw` or `nhwc`.
    public let layout: String
    /// `prepared`, or `pixels` where the graph does mean, deviation and channel order itself.
    public let values: String
    /// Smallest cosine that it is held to, where the bundle says one.
    public let minCosine: Double?

    init(_ value: Json, files: [String]) throws {
        let needed = ["target", "precision", "file", "inputs"]
        let of = try Fields(value, "a graph", needed, more: ["output", "batch", "layout", "values", "min_cosine"])
        target = try of.text("target", "a word", isWord)
        precision = try of.text("precision", "a word", isWord)
        let file = try checkFile(of["file"])
        self.file = file
        let names = try of.list("inputs").map { Text($0.asText ?? "") }
        try expect(!names.isEmpty && Set(names).count == names.count && !names.contains(""), "inputs", shown(of["inputs"]),
                   "names, each once")
        inputs = names.map(\.string)
        output = of.has("output") ? try of.text("output", "a name") { !$0.isEmpty } : "embedding"
        batch = of["batch"] == nil ? nil : try of.integer("batch", 1, 1024)
        layout = of.has("layout") ? try of.oneOf("layout", "nchw", "nhwc") : "nchw"
        values = of.has("values") ? try of.oneOf("values", "prepared", "pixels") : "prepared"
        if let least = of["min_cosine"], case .number = least {
            minCosine = try of.number("min_cosine", -1, 1)
        } else {
            try expect(of["min_cosine"] == nil, "min_cosine", shown(of["min_cosine"]), "-1.0 to 1.0, or none")
            minCosine = nil
        }
        let there = files.contains { $0 == file || $0.hasPrefix(file + "/") }
        try expect(there, "a graph's file", file, "one of the bundle's files")
    }
}
