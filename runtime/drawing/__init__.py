"""Drawings of matches: from single lines and dots to whole styles."""
