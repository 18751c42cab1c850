"""Annotations of pictures, and the files of the tools that people annotate with (docs/propagate.md).

``model`` is what all formats have in common; ``files`` finds the format of a file; each other module reads
and writes one format.
"""
