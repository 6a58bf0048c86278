/**
 * The compat-sdk runtime in Java: what the Python runtime does with a bundle and a gallery on a device, and nothing more.
 *
 * <p>{@link compatsdk.Bundle} and {@link compatsdk.Gallery} are files whose every byte was compared with a digest.
 * {@link compatsdk.Embedder} makes {@link compatsdk.Embeddings} of pictures by an {@link compatsdk.Engine} that the app
 * brings, and a gallery answers those that may search its space. Every error is a {@link compatsdk.CompatError}.
 * The language and the library are those of Java 8, which Android 8 has. The cases of sdk/conformance say what is right.
 */
package compatsdk;
