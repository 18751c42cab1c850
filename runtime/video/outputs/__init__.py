"""Write the results of a stream: one file for all frames, or a file for each frame (docs/formats.md)."""
