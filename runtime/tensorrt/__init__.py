"""Engines of TensorRT and TensorRT-RTX: how they are built, stored and run."""
