"""How a preset is trained best, where that is not the paper's way."""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    # docs/tiny.md has the measurements.
    "tiny": {},
}


def recipe(preset: str) -> dict[str, Any]:
    """Settings that differ from the paper's; fields of :class:`~training.settings.TrainSettings`."""
    return RECIPES.get(preset, {})
