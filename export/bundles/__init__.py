"""Bundles on disk, as whatever writes or changes them sees them: ONNX files read back, without PyTorch."""
