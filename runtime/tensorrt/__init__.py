"""Engines of TensorRT and TensorRT-RTX: building, what they are, running them."""
