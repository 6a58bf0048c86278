import Foundation

#if canImport(CryptoKit)
import CryptoKit
#else
import CCrypto
#endif

/// SHA-256 of bytes, as 64 hexadecimal digits.
func sha256(_ data: Data) -> String {
    #if canImport(CryptoKit)
    let digest = [UInt8](SHA256.hash(data: data))
    #else
    var digest = [UInt8](repeating: 0, count: 32)
    let done = data.withUnsafeBytes { EVP_Digest($0.baseAddress, $0.count, &digest, nil, EVP_sha256(), nil) }
    precondition(done == 1, "OpenSSL has no SHA-256")
    #endif
    return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// SHA-256 of a document's canonical JSON without its `digest`.
func sealOf(_ document: [Text: Json]) -> String {
    var body = document
    body["digest"] = nil
    return sha256(Data(Json.object(body).canonical.utf8))
}

/// Whether there is a plain file, which no link leads to, and its size in bytes.
func plainSize(_ url: URL) -> Int? {
    guard let found = try? FileManager.default.attributesOfItem(atPath: url.path) else { return nil }
    guard found[.type] as? FileAttributeType == .typeRegular else { return nil }
    return (found[.size] as? NSNumber)?.intValue
}

/// The bytes of a file, mapped where they are many. Throws SystemRefusedError, or CorruptFileError where there is none.
func contents(_ url: URL) throws -> Data {
    do {
        return try Data(contentsOf: url, options: .alwaysMapped)
    } catch {
        let said = "cannot read \(url.path): \((error as NSError).localizedDescription)"
        let code = ((error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError)?.code
        let refused = (error as? CocoaError)?.code == .fileReadNoPermission || code == Int(EMFILE) || code == Int(ENFILE)
        if refused { throw SystemRefusedError(message: said + "; the file may be sound: see to permissions and open files") }
        throw CorruptFileError(message: said)
    }
}

/// The bytes of the plain file of a record; its size is compared before its digest.
func verified(_ url: URL, sha256 wanted: String, bytes: Int) throws -> Data {
    guard let size = plainSize(url) else { throw CorruptFileError(message: "\(url.path) is no plain file, or is missing") }
    guard size == bytes else { throw CorruptFileError(message: "\(url.path) has \(size) bytes, expected \(bytes)") }
    let data = try contents(url)
    let found = sha256(data)
    guard found == wanted, data.count == bytes else {
        throw CorruptFileError(message: "\(url.path) has SHA-256 \(found.prefix(16))..., expected \(wanted.prefix(16))...")
    }
    return data
}
