"""Correspondences for every frame of a video or a camera: sources, threads, references, results."""
