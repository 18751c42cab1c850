"""Results of a stream on disk: one file for all frames, or one for each (docs/formats.md)."""
