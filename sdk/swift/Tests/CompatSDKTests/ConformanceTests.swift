import Foundation
import XCTest

@testable import CompatSDK

/// One case of sdk/conformance: its fields, and the folder that its files lie in.
struct Case {
    let root: URL
    let fields: [Text: Json]

    /// sdk/conformance, and the folder of random cases that CASES names.
    static let roots: [URL] = {
        let sdk = URL(fileURLWithPath: #filePath).pathComponents.dropLast(4).joined(separator: "/")
        let more = ProcessInfo.processInfo.environment["CASES"]
        return ([sdk + "/conformance"] + [more].compactMap { $0 }).map { URL(fileURLWithPath: $0) }
    }()

    static func all(_ kind: String, in roots: [URL]) throws -> [Case] {
        var found: [Case] = []
        for root in roots {
            guard let text = try? Data(contentsOf: root.appendingPathComponent(kind + ".json")) else { continue }
            found += try Json.value(text, anyText: true).asObject!["cases"]!.asList!.map { Case(root: root, fields: $0.asObject!) }
        }
        XCTAssertGreaterThan(found.count, 8, kind)
        return found
    }

    /// The cases of a kind, and how many there are.
    static func told(_ kind: String) throws -> [Case] {
        let found = try all(kind, in: roots)
        print("\(kind): \(found.count) cases")
        return found
    }

    static func named(_ kind: String, _ name: String) throws -> Case {
        try all(kind, in: [roots[0]]).first { $0.text("name") == name }!
    }

    subscript(name: String) -> Json? { fields[Text(name)].flatMap { $0 == .null ? nil : $0 } }
    func text(_ name: String) -> String? { self[name]?.asText }
    var name: String { text("name") ?? "a search" }

    /// What a step gives, or nil for a case that is refused: it raises exactly the error of this name.
    func expecting<T>(_ step: () throws -> T) -> T? {
        let wanted = text("error")
        do {
            let found = try step()
            XCTAssertNil(wanted, "\(name) was not refused")
            return wanted == nil ? found : nil
        } catch {
            XCTAssertEqual("\(type(of: error))", wanted, "\(name): \(error)")
            XCTAssertLessThan((error as? any CompatError)?.message.count ?? 1000, 400, name)
            return nil
        }
    }

    /// The case's files laid out in a new folder.
    func folder() throws -> URL {
        let folder = try newFolder()
        for (name, file) in self["files"]!.asObject! {
            let to = folder.appendingPathComponent(name.string)
            try FileManager.default.createDirectory(at: to.deletingLastPathComponent(), withIntermediateDirectories: true)
            try FileManager.default.copyItem(at: root.appendingPathComponent(file.asText!), to: to)
        }
        return folder
    }

    func array(_ name: String) throws -> Array { try Array(Data(contentsOf: root.appendingPathComponent(text(name)!))) }

    struct Array {
        let content: Data
        let npy: Npy

        init(_ content: Data) throws {
            self.content = content
            npy = try Npy(content, "array")
        }

        var floats: [Float] { npy.floats(content) }
        var bytes: [UInt8] { [UInt8](content.dropFirst(npy.start)) }

        func picture() throws -> Picture {
            try Picture(bytes, width: npy.shape[1], height: npy.shape[0], channels: npy.shape.count == 2 ? 1 : npy.shape[2])
        }
    }
}

let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("compat-sdk-\(UUID().uuidString)")

func newFolder() throws -> URL {
    let folder = scratch.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
}

struct Recorded: Engine {
    var name = "recorded"
    let answer: (Tensor) throws -> Tensor
    func run(_ images: Tensor) throws -> Tensor { try answer(images) }
}

func assertNear(_ expected: [Float], _ found: [Float], _ bound: Float, _ name: String) {
    XCTAssertEqual(expected.count, found.count, name)
    for (one, other) in zip(expected, found) where !(abs(one - other) <= bound * max(1, abs(one))) {
        return XCTFail("\(name): \(other) instead of \(one)")
    }
}

/// The cases of sdk/conformance, which every runtime passes; its README.md says what they mean.
final class ConformanceTests: XCTestCase {
    override class func tearDown() { try? FileManager.default.removeItem(at: scratch) }

    func testBundles() throws {
        for one in try Case.told("bundles") {
            let url = try one.text("zip").map { one.root.appendingPathComponent($0) } ?? one.folder()
            guard let bundle = one.expecting({ try ModelBundle(url) }), let opens = one["opens"] else { continue }
            XCTAssertEqual(said(bundle), opens, one.name)
        }
    }

    private func said(_ bundle: ModelBundle) -> Json {
        let of = bundle.manifest
        return .object([
            "digest": text(bundle.digest), "name": text(of.name), "role": text(of.role), "space": text(of.space),
            "searches": texts(of.searches), "dim": .integer(of.dim), "release": .integer(of.release), "mmacs": .number(of.mmacs),
            "preprocessing": said(of.preprocessing!), "graphs": .list(of.graphs.map(said)),
            "files": texts(of.fileNames.sorted { Text($0) < Text($1) }),
        ])
    }

    private func said(_ of: Preprocessing) -> Json {
        var found: [Text: Json] = [
            "size": .integer(of.size), "fit": text(of.fit), "resize": text(of.resize), "draft": .integer(of.draft),
            "mean": .list(of.mean.map(Json.number)), "std": .list(of.std.map(Json.number)), "channels": text(of.channels),
        ]
        found["crop"] = of.crop == 1 ? nil : .number(of.crop)
        return .object(found)
    }

    private func said(_ of: Graph) -> Json {
        .object([
            "target": text(of.target), "precision": text(of.precision), "file": text(of.file), "inputs": texts(of.inputs),
            "output": text(of.output), "batch": of.batch.map(Json.integer) ?? .null, "layout": text(of.layout),
            "values": text(of.values), "min_cosine": of.minCosine.map(Json.number) ?? .null,
        ])
    }

    private func text(_ value: String) -> Json { .text(Text(value)) }
    private func texts(_ values: [String]) -> Json { .list(values.map(text)) }

    func testSpaces() throws {
        for one in try Case.told("spaces") {
            _ = one.expecting {
                try query([1], 1, one).requireCompatible(one.text("gallery_space")!)
            }
        }
    }

    private func query(_ vectors: [Float], _ dim: Int, _ one: Case) throws -> Embeddings {
        try Embeddings(vectors, dim: dim, space: one.text("space")!, searches: one["searches"]!.asList!.map { $0.asText! })
    }

    func testPreprocessing() throws {
        for one in try Case.told("preprocessing") {
            let read = { try Preprocessing(one["preprocessing"], "preprocessing") }
            let pixels = one.expecting { try read().toPixels(one.array("pixels").picture()) }
            guard let pixels, one["resized"] != nil else { continue }
            let resized = try one.array("resized").bytes
            XCTAssertEqual(resized.count, pixels.count, one.name)
            XCTAssertLessThanOrEqual(zip(resized, pixels).map { abs(Int($0) - Int($1)) }.max()!, 1, one.name)
            let graph = try Graph(.object([
                "target": text("onnx"), "precision": text("fp32"), "file": text("model.onnx"), "inputs": texts(["image"]),
                "layout": one["layout"]!, "values": one["values"]!,
            ]), files: ["model.onnx"])
            assertNear(try one.array("input").floats, try read().toInput(resized, graph), 1e-6, one.name)
        }
    }

    func testEmbeddings() throws {
        for one in try Case.told("embeddings") {
            let bundle = try ModelBundle(one.folder()), input = try one.array("input"), output = try one.array("output")
            let embedder = Embedder(bundle, bundle.manifest.graphs[0], Recorded { images in
                XCTAssertEqual(images.shape, input.npy.shape, one.name)
                assertNear(input.floats, images.values, 0.02, one.name)
                return Tensor(shape: output.npy.shape, values: output.floats)
            })
            let found = one.expecting { try embedder.embed([one.array("pixels").picture()]) }
            if let found, one["embedding"] != nil { assertNear(try one.array("embedding").floats, found.vectors, 1e-6, one.name) }
        }
    }

    func testGalleries() throws {
        for one in try Case.told("galleries") {
            let folder = try one.folder()
            guard let gallery = one.expecting({ try Gallery(folder) }), let opens = one["opens"] else { continue }
            XCTAssertEqual(.object([
                "space": text(gallery.space), "dim": .integer(gallery.dim), "dtype": text(gallery.dtype),
                "rows": .integer(gallery.count), "segments": .integer(gallery.segments), "model": gallery.model,
                "generation": .integer(gallery.generation), "ids": texts(gallery.ids), "labels": texts(gallery.labels),
            ]), opens, one.name)
            for search in one["searches"]?.asList ?? [] { try self.search(gallery, Case(root: one.root, fields: search.asObject!), one.name) }
        }
    }

    private func search(_ gallery: Gallery, _ one: Case, _ name: String) throws {
        guard case .integer(let k)? = one["k"] else { return XCTFail(name) }
        let found = one.expecting {
            let queries = try one.array("queries")
            return try gallery.search(query(queries.floats, queries.npy.shape[1], one), k: k)
        }
        guard let found, let expected = one["hits"]?.asList else { return }
        XCTAssertEqual(expected.count, found.count, name)
        for (line, hits) in zip(expected, found) {
            let wanted = line.asList!.map { $0.asObject! }
            XCTAssertEqual(wanted.map { $0["id"] }, hits.map { .text(Text($0.id)) }, name)
            XCTAssertEqual(wanted.map { $0["label"] }, hits.map { .text(Text($0.label)) }, name)
            assertNear(wanted.map { Float($0["score"]!.asNumber!) }, hits.map(\.score), 1e-6, name)
        }
    }
}
