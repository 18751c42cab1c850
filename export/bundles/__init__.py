"""Reading and changing the ONNX files of bundles, without PyTorch."""
