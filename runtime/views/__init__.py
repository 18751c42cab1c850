"""Matching several views of two pictures: also zoomed, turned and mirrored ones (docs/views.md)."""
