import SwiftUI

/// Searches a gallery that lies in the app by a picture that the user chooses or takes, on the device alone.
///
/// compat-sdk is built on Linux, where there is no UIKit: the app was read with care, and has never been compiled or run.
/// docs/ios.md says how to build it.
@main
struct SearchApp: App {
    var body: some Scene {
        WindowGroup { ContentView() }
    }
}
