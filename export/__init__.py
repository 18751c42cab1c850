"""From a network to a bundle of ONNX graphs that is proven to compute the same."""
