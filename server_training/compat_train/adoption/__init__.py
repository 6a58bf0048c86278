"""Gallery models that were not trained here, made into RUN folders that every command takes.

source     what a source is called: `timm:NAME`, `onnx:FILE`, a bundle, ...
found      what each kind of source gives: a checkpoint, and how the original embeds a picture file
files, timm_model, open_clip_model, huggingface_model, vectors    one kind of source each, `files` three
onnx_file  an ONNX file's ports and their forms
preprocessor_config  what transformers says of pictures
proof      the same pictures through the original and through what was adopted
adopt      all of it in one function
opening    the one opener of gallery models, adopted or trained here
"""
