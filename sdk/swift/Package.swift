// swift-tools-version:5.9
import PackageDescription

var targets: [Target] = [.testTarget(name: "CompatSDKTests", dependencies: ["CompatSDK"])]
var digests: [Target.Dependency] = []
#if os(Linux)
// Apple's platforms have SHA-256 in CryptoKit. Here it is OpenSSL's, as the system has it.
targets.append(.systemLibrary(name: "CCrypto", providers: [.apt(["libssl-dev"])]))
digests = ["CCrypto"]
#endif
targets.append(.target(name: "CompatSDK", dependencies: digests))

let package = Package(
    name: "CompatSDK",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "CompatSDK", targets: ["CompatSDK"])],
    targets: targets
)
