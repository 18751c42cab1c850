"""Photographs that a bundle is tried on when the user names none."""

from __future__ import annotations

from pathlib import Path

PICTURES = Path(__file__).parent / "pictures"
"""Folder of three photographs in the public domain or CC0; its README names the sources."""
