"""Carry annotations of a few pictures to many others, or through a video (docs/propagate.md).

``references`` are the annotated pictures, ``targets`` the others; ``slots`` carries from all references to
one picture, and ``consensus`` decides where they differ; ``carrying`` also follows points through a video.
``run`` does it for all targets, with ``records`` of what is done; ``review`` draws the contact sheet.
"""
