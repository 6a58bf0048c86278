import CompatSDK
import PhotosUI
import SwiftUI

/// One screen: choose or take a picture, and see what it finds.
struct ContentView: View {
    @State private var search: Search?
    @State private var status = "Opening the model and the gallery"
    @State private var chosen: PhotosPickerItem?
    @State private var query: Data?
    @State private var found: [Hit] = []
    @State private var takesPicture = false

    var body: some View {
        NavigationStack {
            ScrollView {
                if let query, let image = UIImage(data: query) {
                    Image(uiImage: image).resizable().scaledToFit().frame(maxHeight: 220).accessibilityLabel("Your picture")
                }
                Text(status).font(.footnote).padding(.horizontal)
                LazyVGrid(columns: [GridItem(.adaptive(minimum: 110))], spacing: 8) {
                    ForEach(found, id: \.id) { HitView(hit: $0) }
                }
                .padding(.horizontal)
            }
            .navigationTitle("Visual search")
            .toolbar {
                PhotosPicker("Choose", selection: $chosen, matching: .images)
                Button("Take", systemImage: "camera") { takesPicture = true }
                    .disabled(!UIImagePickerController.isSourceTypeAvailable(.camera))
            }
            .disabled(search == nil)
        }
        .sheet(isPresented: $takesPicture) { Camera { find($0) }.ignoresSafeArea() }
        .onChange(of: chosen) { item in
            Task { if let data = try? await item?.loadTransferable(type: Data.self) { find(data) } }
        }
        .task { await open() }
    }

    private func open() async {
        do {
            let opened = try await Task.detached { try Search() }.value
            status = "\(opened.count) pictures can be found"
            search = opened
        } catch {
            status = error.localizedDescription
        }
    }

    private func find(_ picture: Data) {
        query = picture
        Task {
            do {
                guard let answer = try await search?.find(picture) else { return }
                found = answer.hits
                status = String(format: "decode %.0f ms, embed %.0f ms, search %.0f ms", answer.decode, answer.embed, answer.search)
            } catch {
                found = []
                status = error.localizedDescription
            }
        }
    }
}

/// A hit with its picture, where `photos` lies among the app's resources: its id is the path there.
private struct HitView: View {
    let hit: Hit

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            if let photos = Foundation.Bundle.main.resourceURL?.appendingPathComponent("photos"),
               let image = UIImage(contentsOfFile: photos.appendingPathComponent(hit.id).path) {
                Image(uiImage: image).resizable().scaledToFill().frame(width: 110, height: 110).clipped()
            }
            Text(hit.label.isEmpty ? hit.id : hit.label).font(.caption).lineLimit(1)
            Text(String(format: "%.3f", hit.score)).font(.caption2).foregroundStyle(.secondary)
        }
        .accessibilityElement(children: .combine)
    }
}

/// The system's camera, which hands over a JPEG.
private struct Camera: UIViewControllerRepresentable {
    let took: (Data) -> Void
    @Environment(\.dismiss) private var dismiss

    func makeUIViewController(context: Context) -> UIImagePickerController {
        let picker = UIImagePickerController()
        picker.sourceType = .camera
        picker.delegate = context.coordinator
        return picker
    }

    func updateUIViewController(_: UIImagePickerController, context _: Context) {}
    func makeCoordinator() -> Coordinator { Coordinator(self) }

    final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate {
        private let camera: Camera

        init(_ camera: Camera) { self.camera = camera }

        func imagePickerController(
            _: UIImagePickerController, didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
        ) {
            if let image = info[.originalImage] as? UIImage, let data = image.jpegData(compressionQuality: 0.95) {
                camera.took(data)
            }
            camera.dismiss()
        }

        func imagePickerControllerDidCancel(_: UIImagePickerController) { camera.dismiss() }
    }
}
