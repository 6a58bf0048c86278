import Foundation
import XCTest

@testable import CompatSDK

/// The self-test, and what an engine is asked, with engines that give what a test wants.
final class EmbedderTests: XCTestCase {
    private var bundle: ModelBundle!

    override func setUpWithError() throws {
        let one = try Case.named("bundles", "good-zip")
        bundle = try ModelBundle(one.root.appendingPathComponent(one.text("zip")!))
    }

    private func golden(_ row: Int) throws -> [Float] {
        let content = try bundle.read("golden/embeddings.npy"), dim = bundle.manifest.dim
        return Array(try Npy(content, "golden").floats(content)[row * dim..<(row + 1) * dim])
    }

    private func embedder(_ answer: @escaping (Int) throws -> [Float], graph: Graph? = nil) throws -> Embedder {
        let dim = bundle.manifest.dim
        var calls = 0
        let engine = Recorded { images in
            defer { calls += 1 }
            return Tensor(shape: [images.shape[0], dim], values: try answer(calls))
        }
        return Embedder(bundle, try graph ?? bundle.graph("onnx"), engine)
    }

    private let black = try! Picture([0, 0, 0], width: 1, height: 1, channels: 3)

    func testAnEngineThatGivesTheTrainedModelsVectorsPasses() throws {
        XCTAssertEqual(try embedder(golden).selfTest(decode: nil), 1, accuracy: 1e-6)
        let golden = try Golden(bundle), size = bundle.manifest.preprocessing!.size
        XCTAssertFalse(golden.names.isEmpty)
        var row = 0
        let decode = { (_: Data, _: Preprocessing) in
            defer { row += 1 }
            return try Picture(golden.images[row], width: size, height: size, channels: 3)
        }
        XCTAssertEqual(try embedder(self.golden).selfTest(decode: decode), 1, accuracy: 1e-6)
    }

    func testAnotherVectorOrAnotherDecoderIsRefused() throws {
        XCTAssertThrowsError(try embedder { _ in try self.golden(0) }.selfTest(decode: nil)) { XCTAssert($0 is CheckFailedError) }
        let golden = try Golden(bundle), size = bundle.manifest.preprocessing!.size
        let swapped = { (_: Data, _: Preprocessing) in
            let row = golden.images[0]
            return try Picture(row.indices.map { row[$0 - $0 % 3 + 2 - $0 % 3] }, width: size, height: size, channels: 3)
        }
        XCTAssertThrowsError(try embedder(self.golden).selfTest(decode: swapped)) { XCTAssert($0 is CheckFailedError) }
    }

    func testAnotherInputThanTheTrainedModelsIsRefused() throws {
        for (layout, values) in [("nchw", "prepared"), ("nhwc", "prepared"), ("nchw", "pixels")] {
            let told = """
                {"target": "onnx", "precision": "fp32", "file": "a", "inputs": ["image"], "layout": "\(layout)", "values": "\(values)"}
                """
            let graph = try Graph(Json.value(Data(told.utf8)), files: ["a"])
            let step = { try self.embedder(self.golden, graph: graph).selfTest(decode: nil) }
            if values == "pixels" {
                XCTAssertThrowsError(try step()) { XCTAssert($0 is CheckFailedError) }
            } else {
                XCTAssertEqual(try step(), 1, accuracy: 1e-6)
            }
        }
    }

    func testAnEngineThatFailsIsToldAsThat() throws {
        struct Failure: Error {}
        XCTAssertThrowsError(try embedder { _ in throw Failure() }.embed([black])) {
            XCTAssert(($0 as? BundleError)?.message.contains("recorded failed") == true)
        }
    }

    func testAsManyNumbersInAnotherShapeAreRefused() throws {
        let dim = bundle.manifest.dim
        let transposed = Recorded { _ in Tensor(shape: [dim, 1], values: try self.golden(0)) }
        XCTAssertThrowsError(try Embedder(bundle, bundle.graph("onnx"), transposed).embed([black])) { XCTAssert($0 is BundleError) }
    }

    func testNoPicturesHaveNoVectors() throws {
        XCTAssertEqual(try embedder(golden).embed([]).count, 0)
    }

    func testABatchIsFilledUpWithItsLastRow() throws {
        let told = #"{"target": "onnx", "precision": "fp32", "file": "a", "inputs": ["image"], "batch": 4}"#
        let graph = try Graph(Json.value(Data(told.utf8)), files: ["a"])
        var shapes: [[Int]] = []
        let row = try golden(0), engine = Recorded { images in
            shapes.append(images.shape)
            return Tensor(shape: [4, row.count], values: row + row + row + row)
        }
        let found = try Embedder(bundle, graph, engine).embed([Picture](repeating: black, count: 5))
        XCTAssertEqual(found.count, 5)
        XCTAssertEqual(shapes.map(\.[0]), [4, 4])
    }

    func testAJpegIsReadAtAScaleThatKeepsEnoughOfIt() {
        let of = bundle.manifest.preprocessing!  // size 8, draft 2
        let sides = [(31, 400), (8, 8), (32, 40), (64, 127), (128, 128), (4000, 3000)]
        XCTAssertEqual(sides.map { of.draftScale(width: $0.0, height: $0.1) }, [1, 1, 2, 4, 8, 8])
    }

    func testASquareIsTurnedAsPillowTurnsIt() throws {
        let told = #"{"size": 3, "fit": "crop", "resize": "box", "draft": 0, "mean": [0, 0, 0], "std": [1, 1, 1], "channels": "rgb"}"#
        let of = try Preprocessing(Json.value(Data(told.utf8)), "preprocessing")
        let square = (0..<9).flatMap { [UInt8]([$0, $0 + 10, $0 + 20]) }
        let turned: [[UInt8]] = [
            [0, 1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 0, 5, 4, 3, 8, 7, 6], [8, 7, 6, 5, 4, 3, 2, 1, 0], [6, 7, 8, 3, 4, 5, 0, 1, 2],
            [0, 3, 6, 1, 4, 7, 2, 5, 8], [6, 3, 0, 7, 4, 1, 8, 5, 2], [8, 5, 2, 7, 4, 1, 6, 3, 0], [2, 5, 8, 1, 4, 7, 0, 3, 6],
        ]
        for (place, wanted) in turned.enumerated() {
            XCTAssertEqual(of.upright(square, orientation: place + 1), wanted.flatMap { [$0, $0 + 10, $0 + 20] }, "\(place + 1)")
        }
        XCTAssertEqual(of.upright(square, orientation: 9), square)
    }

    func testAQueryIsRefusedByWhatItIs() {
        XCTAssertThrowsError(try Embeddings([0, 0, 0], dim: 2, space: "a", searches: [])) { XCTAssert($0 is VectorError) }
        XCTAssertThrowsError(try Embeddings([0, 0], dim: 2, space: "a", searches: [])) { XCTAssert($0 is VectorError) }
        XCTAssertThrowsError(try Picture([0, 0, 0, 0], width: 1, height: 1, channels: 3)) { XCTAssert($0 is ImageError) }
    }
}
