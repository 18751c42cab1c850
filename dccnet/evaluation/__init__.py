"""Pair lists with keypoints, and the share of keypoints that a matcher gets right."""
