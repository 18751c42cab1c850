"""Weights on disk: dcc's checkpoints, the authors' files and pretrained backbones."""
