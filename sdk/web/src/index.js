// The compat-sdk runtime in JavaScript: bundles, preprocessing, embeddings, galleries and their exact search.

export { Bundle, openBundle } from "./bundle.js";
export { decode } from "./decode.js";
export { Embedder } from "./embedder.js";
export {
  BundleError, CheckFailedError, CompatError, ConfigError, CorruptFileError, DataError, GalleryError, ImageError,
  IncompatibleSpaceError, MissingExtraError, VectorError,
} from "./errors.js";
export { Gallery, openGallery } from "./gallery.js";
export { readPreprocessing, toInput, toPixels } from "./preprocessing.js";
export { Embeddings, requireCompatible } from "./space.js";
