import Foundation

/// What every error of this runtime has: one line that says what was found, what was expected and what to do.
///
/// Each kind has the name that it has in Python (`compat_sdk.errors`).
public protocol CompatError: LocalizedError, CustomStringConvertible {
    /// What was found, what was expected, and what to do.
    var message: String { get }
}

extension CompatError {
    /// The name of the error, and its message.
    public var description: String { "\(type(of: self)): \(message)" }
    /// The message.
    public var errorDescription: String? { message }
}

/// A setting is out of its range, or two settings clash: what was asked for is at fault.
public struct ConfigError: CompatError { public let message: String }
/// One image cannot be read.
public struct ImageError: CompatError { public let message: String }
/// Vectors that no index may see: NaN, zero, wrong shape.
public struct VectorError: CompatError { public let message: String }
/// A bundle is incomplete, malformed or of a version that this release cannot read.
public struct BundleError: CompatError { public let message: String }
/// A stored gallery is incomplete, malformed or of a version that this release cannot read.
public struct GalleryError: CompatError { public let message: String }
/// The operating system refused to open or read a file; nothing says that the file is damaged.
public struct SystemRefusedError: CompatError { public let message: String }
/// Query and gallery live in different embedding spaces.
public struct IncompatibleSpaceError: CompatError { public let message: String }
/// A self-test did not hold.
public struct CheckFailedError: CompatError { public let message: String }

/// A file differs from its recorded digest, size or format; whoever opens it says of what it is a part.
struct CorruptFileError: CompatError { let message: String }
