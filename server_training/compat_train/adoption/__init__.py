"""Gallery models that were not trained here, made into RUN folders that every command takes.

source     what a source is called: `timm:NAME`, `onnx:FILE`, a bundle, ...
found      what each kind of source gives: a checkpoint, and how the original embeds a picture file
onnx_file, timm_model, open_clip_model, huggingface, module, bundle, vectors    one kind of source each
proof      the same pictures through the original and through what was adopted
adopt      all of it in one function
opening    the one opener of gallery models, adopted or trained here
"""
