/** Decoded pixels: 1 (grey), 3 (RGB) or 4 (RGBA) bytes a pixel, upright. ImageData is one. */
export interface Picture {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  /** It was a JPEG. */
  jpeg?: boolean;
  /** It lay on its side in its file. */
  turned?: boolean;
}

/** Decoded pixels, or a file that the browser decodes. */
export type Image = Picture | Blob | ArrayBuffer | ArrayBufferView;

/** URL of a folder or of a .zip; Blob or bytes of a zip; a folder that was picked; files by name. */
export type Source = string | URL | Blob | ArrayBuffer | ArrayBufferView | Iterable<File> | Map<string, Blob | BufferSource> | Record<string, Blob | BufferSource>;

export interface OpenOptions {
  /** Name of a browser cache that keeps what is fetched, by its digest. */
  cache?: string;
  onProgress?(url: string, done: number, total: number): void;
}

/** What is done to an image before a model sees it. */
export interface Preprocessing {
  size: number;
  fit: "crop" | "stretch";
  resize: "bilinear" | "bicubic" | "lanczos" | "box";
  draft: number;
  mean: [number, number, number];
  std: [number, number, number];
  channels: "rgb" | "bgr";
  crop: number;
}

export interface Graph {
  target: string;
  precision: string;
  file: string;
  inputs: string[];
  output: string;
  batch: number | null;
  layout: "nchw" | "nhwc";
  values: "prepared" | "pixels";
  min_cosine: number | null;
}

export interface Manifest {
  name: string;
  role: "query" | "gallery" | "side-info";
  space: string;
  searches: string[];
  dim: number;
  preprocessing: Preprocessing;
  tier: string;
  /** Millions of multiply-accumulates per image. */
  mmacs: number;
  mmacs_paper: number;
  params_m: number;
  license: string;
  arch: string;
  graphs: Graph[];
  created_by: string;
  files: Record<string, { sha256: string; bytes: number }>;
  identity: Record<string, unknown> | null;
  certificates: Record<string, unknown>[];
  release: number;
  expires: string | null;
}

/** What `Bundle.embedder` needs of onnxruntime-web. */
export interface Engine {
  InferenceSession: { create(graph: Uint8Array, options: object): Promise<unknown> };
  Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => unknown;
}

export function openBundle(source: Source, options?: OpenOptions): Promise<Bundle>;
export class Bundle {
  private constructor();
  readonly path: string;
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's bytes. */
  readonly digest: string;
  read(name: string): Promise<Uint8Array>;
  graph(target?: string, precision?: string | null): Graph;
  embedder(ort: Engine, options?: { precision?: string | null; engine?: "wasm" | "webgpu" }): Promise<Embedder>;
}

export class Embedder {
  private constructor();
  readonly bundle: Bundle;
  readonly graph: Graph;
  readonly engine: string;
  readonly preprocessing: Preprocessing;
  readonly space: string;
  readonly searches: string[];
  readonly dim: number;
  embed(images: Image | Image[]): Promise<Embeddings>;
  embedPixels(pixels: Uint8Array[]): Promise<Embeddings>;
  selfTest(options?: { pictures?: boolean }): Promise<{ min_cosine: number; bound: number; rows: number; pictures: number }>;
}

/** Unit vectors that know the embedding space they were written in. */
export class Embeddings {
  constructor(vectors: Float32Array, dim: number, space: string, searches?: string[]);
  readonly vectors: Float32Array;
  readonly dim: number;
  readonly space: string;
  readonly searches: string[];
  readonly length: number;
}

export interface Hit {
  id: string;
  label: string;
  /** Cosine similarity, -1 to 1. */
  score: number;
}

export function openGallery(source: Source, options?: OpenOptions & { worker?: boolean }): Promise<Gallery>;
export class Gallery {
  private constructor();
  readonly path: string;
  readonly space: string;
  readonly dim: number;
  readonly dtype: "float32" | "float16" | "int8";
  readonly generation: number;
  readonly segments: number;
  readonly model: Record<string, unknown>;
  readonly ids: string[];
  readonly labels: string[];
  readonly length: number;
  /** What scores the rows: WebAssembly with SIMD, or JavaScript where the platform has none. The hits are the same. */
  readonly scoring: "simd" | "plain";
  search(query: Embeddings, k?: number): Promise<Hit[][]>;
  close(): void;
}

export function decode(file: Blob | ArrayBuffer | ArrayBufferView): Promise<Picture>;
export function readPreprocessing(value: unknown): Preprocessing;
export function toPixels(picture: Picture, preprocessing: Preprocessing): Uint8Array;
export function toInput(pixels: Uint8Array, preprocessing: Preprocessing, graph: Pick<Graph, "layout" | "values">): Float32Array;
export function requireCompatible(query: { space: string; searches: string[] }, gallerySpace: string): void;

export class CompatError extends Error {}
export class ConfigError extends CompatError {}
export class DataError extends CompatError {}
export class ImageError extends DataError {}
export class VectorError extends CompatError {}
export class CorruptFileError extends CompatError {}
export class BundleError extends CorruptFileError {}
export class GalleryError extends CorruptFileError {}
export class IncompatibleSpaceError extends CompatError {}
export class MissingExtraError extends CompatError {}
export class CheckFailedError extends CompatError {}
