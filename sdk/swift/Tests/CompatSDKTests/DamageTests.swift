import Foundation
import XCTest

@testable import CompatSDK

/// Whichever byte of a sound bundle or gallery is another one, is missing or is added: it is refused.
final class DamageTests: XCTestCase {
    private func everywhere(_ kind: String, _ name: String, _ error: String, _ open: (URL) throws -> Void) throws {
        let one = try Case.named(kind, name)
        if let zip = one.text("zip") {
            let copy = try newFolder().appendingPathComponent("bundle.zip")
            try FileManager.default.copyItem(at: one.root.appendingPathComponent(zip), to: copy)
            return try damaged(copy, error) { try open(copy) }
        }
        let place = try one.folder()
        for file in one["files"]!.asObject!.keys.sorted() {
            try damaged(place.appendingPathComponent(file.string), error) { try open(place) }
        }
        try open(place)
    }

    private func damaged(_ file: URL, _ error: String, _ open: () throws -> Void) throws {
        let sound = try Data(contentsOf: file)
        for place in 0..<16 {
            var flipped = sound
            flipped[(sound.count - 1) * place / 15] ^= 1 << UInt8(place % 8)
            try refused(file, flipped, error, "bit of \(place)/15", open)
        }
        // The last byte of a manifest is a line end, which is nobody's content.
        for (content, what) in [(sound.dropLast(2), "cut"), (sound.prefix(sound.count / 2), "half"), (sound + [0], "a byte more"), (Data(), "empty")] {
            try refused(file, Data(content), error, what, open)
        }
        try FileManager.default.removeItem(at: file)
        XCTAssertThrowsError(try open(), file.path) { XCTAssertEqual("\(type(of: $0))", error, file.path) }
        try sound.write(to: file)
    }

    private func refused(_ file: URL, _ content: Data, _ error: String, _ what: String, _ open: () throws -> Void) throws {
        try FileManager.default.removeItem(at: file)  // what is mapped keeps what it mapped
        try content.write(to: file)
        XCTAssertThrowsError(try open(), "\(file.path) \(what)") { XCTAssertEqual("\(type(of: $0))", error, "\(file.path) \(what)") }
    }

    func testABundleWithOneByteChangedIsRefused() throws {
        for name in ["good", "good-zip", "good-crop-bgr"] {
            try everywhere("bundles", name, "BundleError") { _ = try ModelBundle($0) }
        }
    }

    func testAGalleryWithOneByteChangedIsRefused() throws {
        for name in ["good-float32", "good-float16", "good-int8", "good-lines"] {
            try everywhere("galleries", name, "GalleryError") { _ = try Gallery($0) }
        }
    }

    func testALinkIsRefusedWhereAFileIsExpected() throws {
        let files = FileManager.default, place = try Case.named("bundles", "good").folder()
        let link = try newFolder().appendingPathComponent("by-a-link")
        try files.createSymbolicLink(at: link, withDestinationURL: place)
        _ = try ModelBundle(link)
        let graph = place.appendingPathComponent("model.onnx"), elsewhere = try newFolder().appendingPathComponent("elsewhere")
        try files.moveItem(at: graph, to: elsewhere)
        try files.createSymbolicLink(at: graph, withDestinationURL: elsewhere)
        XCTAssertThrowsError(try ModelBundle(place)) { XCTAssert($0 is BundleError) }
        let nothing = place.appendingPathComponent("nothing")
        XCTAssertThrowsError(try ModelBundle(nothing)) { XCTAssert($0 is BundleError) }
        XCTAssertThrowsError(try Gallery(nothing)) { XCTAssert($0 is GalleryError) }
    }

    func testWhatALaterWriterLeavesBesideAGalleryIsPassedOver() throws {
        let place = try Case.named("galleries", "good-int8").folder()
        try Data(count: 3).write(to: place.appendingPathComponent("vectors-00000009-0123456789abcdef.npy"))
        try Data().write(to: place.appendingPathComponent("gallery.lock"))
        XCTAssertEqual(try Gallery(place).dtype, "int8")
    }

    func testTextsThatSwiftTakesForEqualAreTwo() throws {
        XCTAssertNotEqual(Text("e\u{301}"), Text("\u{e9}"))
        XCTAssertNotEqual(Text("K"), Text("\u{212a}"))
        let both = try Json.value(Data("{\"e\u{301}\": 1, \"\u{e9}\": 2}".utf8))
        XCTAssertEqual(both.asObject!.count, 2)
        XCTAssertThrowsError(try Embeddings([1], dim: 1, space: "\u{212a}", searches: [])) { XCTAssert($0 is ConfigError) }
    }

    func testAFloatIsWrittenAsPythonWritesIt() {
        let known: [(Double, String)] = [
            (1, "1.0"), (0.0001, "0.0001"), (0.00001, "1e-05"), (123456789012345, "123456789012345.0"), (1e16, "1e+16"),
            (-0.0, "-0.0"), (.leastNonzeroMagnitude, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"), (0.1, "0.1"),
            (12345678901234568, "1.2345678901234568e+16"), (9007199254740992, "9007199254740992.0"), (100, "100.0"),
            (1e22, "1e+22"), (-1.5e-7, "-1.5e-07"), (0.001234, "0.001234"), (9999999999999998, "9999999999999998.0"),
        ]
        for (value, text) in known { XCTAssertEqual(Json.floatText(value), text) }
    }
}
