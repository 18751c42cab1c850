"""How a preset is trained best, where that is not the paper's way."""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    # docs/tiny.md has the measurements.
    "tiny": {"epochs": 4, "learning_rate": 1e-3},
    "small": {
        "epochs": 1,
        "learning_rate": 1e-4,
        "start": "plain",
        "context_rate": 0.05,
        "schedule": "cosine",
        "negatives": "apart",
        "opposite": 0.05,
        "warps": 0.05,
        "average": 0.95,
    },
}


def recipe(preset: str) -> dict[str, Any]:
    """Settings that differ from the paper's; fields of :class:`~dccnet.training.settings.TrainSettings`."""
    return RECIPES.get(preset, {})
