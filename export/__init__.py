"""From a network to a bundle of ONNX graphs whose results are compared with PyTorch's."""
