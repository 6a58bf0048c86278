#if canImport(CoreML)
import CoreML
import CoreVideo
import Foundation

/// A bundle's Core ML graph, run by Apple's framework.
///
/// compat-sdk is built on Linux, where there is no Core ML: this file was read with care, and has never been compiled or run.
/// `Embedder.selfTest` tells on the device whether its vectors are the trained model's.
///
/// Calls from several threads wait for each other.
public final class CoreMLEngine: Engine, @unchecked Sendable {
    public let name = "coreml"
    private let model: MLModel
    private let graph: Graph
    private let takesPictures: Bool
    private let lock = NSLock()

    /// Writes the verified package to a folder of its own, compiles it and loads it; this takes a moment.
    ///
    /// - Parameter units: where it may run. Results of the Neural Engine differ by the rounding of 16-bit floats.
    /// - Throws: BundleError where the bundle's package cannot be loaded, or has no such input or output.
    public init(_ bundle: ModelBundle, _ graph: Graph, units: MLComputeUnits = .all) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        let package = folder.appendingPathComponent("model.mlpackage")
        defer { try? FileManager.default.removeItem(at: folder) }
        do {
            for name in bundle.manifest.fileNames where name.hasPrefix(graph.file + "/") {
                let to = package.appendingPathComponent(String(name.dropFirst(graph.file.count + 1)))
                try FileManager.default.createDirectory(at: to.deletingLastPathComponent(), withIntermediateDirectories: true)
                try bundle.read(name).write(to: to)
            }
            let compiled = try MLModel.compileModel(at: package)
            defer { try? FileManager.default.removeItem(at: compiled) }
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            model = try MLModel(contentsOf: compiled, configuration: configuration)
        } catch let error as any CompatError {
            throw error
        } catch {
            throw BundleError(message: "Core ML cannot load \(graph.file): \(shortened(error.localizedDescription, 160)); "
                + "restore the bundle or export the model again")
        }
        let ports = model.modelDescription
        guard let input = ports.inputDescriptionsByName[graph.inputs[0]], ports.inputDescriptionsByName.count == 1,
              ports.outputDescriptionsByName[graph.output]?.type == .multiArray else {
            throw BundleError(message: "the Core ML model has no one input \(graph.inputs[0]) and output \(graph.output)")
        }
        takesPictures = input.type == .image
        self.graph = graph
    }

    public func run(_ images: Tensor) throws -> Tensor {
        lock.lock()
        defer { lock.unlock() }
        let count = images.shape[0], each = images.values.count / count
        if graph.batch == nil || graph.batch == 1 || takesPictures {
            let rows = try (0..<count).flatMap { row in
                try predict(Array(images.values[row * each..<(row + 1) * each]), [1] + images.shape.dropFirst())
            }
            return Tensor(shape: [count, rows.count / count], values: rows)
        }
        let rows = try predict(images.values, images.shape)
        return Tensor(shape: [count, rows.count / count], values: rows)
    }

    private func predict(_ values: [Float], _ shape: [Int]) throws -> [Float] {
        let value = takesPictures ? MLFeatureValue(pixelBuffer: try picture(values)) : MLFeatureValue(multiArray: try array(values, shape))
        let found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: [graph.inputs[0]: value]))
        guard let vectors = found.featureValue(for: graph.output)?.multiArrayValue else {
            throw BundleError(message: "Core ML gave no array \(graph.output)")
        }
        return (0..<vectors.count).map { vectors[$0].floatValue }  // by index: whatever type and strides it has
    }

    private func array(_ values: [Float], _ shape: [Int]) throws -> MLMultiArray {
        let found = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float32)
        let numbers = found.dataPointer.bindMemory(to: Float.self, capacity: values.count)
        for at in values.indices { numbers[at] = values[at] }
        return found
    }

    /// An image input takes a picture: whole numbers from 0 to 255, 3 x side x side, as 32-bit BGRA.
    private func picture(_ values: [Float]) throws -> CVPixelBuffer {
        let area = values.count / 3, side = Int(Double(area).squareRoot().rounded())
        guard values.allSatisfy({ (0...255).contains($0) && $0 == $0.rounded() }) else {
            throw BundleError(message: "Core ML's image input takes 0 to 255; the manifest must say values = pixels")
        }
        var made: CVPixelBuffer?
        CVPixelBufferCreate(nil, side, side, kCVPixelFormatType_32BGRA, nil, &made)
        guard let made, CVPixelBufferLockBaseAddress(made, []) == kCVReturnSuccess else {
            throw SystemRefusedError(message: "there is no memory for a picture of \(side) x \(side) pixels")
        }
        defer { CVPixelBufferUnlockBaseAddress(made, []) }
        let bytes = CVPixelBufferGetBaseAddress(made)!.assumingMemoryBound(to: UInt8.self)
        let line = CVPixelBufferGetBytesPerRow(made)
        for pixel in 0..<area {
            let to = pixel / side * line + 4 * (pixel % side)
            for channel in 0..<3 { bytes[to + 2 - channel] = UInt8(values[channel * area + pixel]) }
            bytes[to + 3] = 255
        }
        return made
    }
}
#endif
