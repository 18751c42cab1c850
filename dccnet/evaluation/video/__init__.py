"""Points and masks carried through videos, scored against annotated frames (docs/video.md)."""
