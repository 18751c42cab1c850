"""Evaluation on benchmarks: pairs with keypoints or flow, and the share that a matcher gets right."""
