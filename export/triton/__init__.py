"""``dcc export-triton``: a bundle as a model repository of NVIDIA's Triton Inference Server."""
