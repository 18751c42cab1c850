"""Adapting the features of a network to pictures of one kind, without keypoints (docs/adaptation.md)."""
