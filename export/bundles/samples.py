"""Photographs to try a bundle on where the user names none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

_Item = TypeVar("_Item")

PICTURES = Path(__file__).parent / "pictures"
"""Folder of three photographs, in the public domain or CC0; its README names the sources."""


def neighbours(items: Sequence[_Item]) -> list[tuple[_Item, _Item]]:
    """Pairs of each item with the next one, and of the last with the first: as many pairs as items."""
    return list(zip(items, [*items[1:], *items[:1]], strict=True))
