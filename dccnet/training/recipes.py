"""Settings of presets where they differ from the defaults of the options."""

from __future__ import annotations

from typing import Any

_SMALL: dict[str, Any] = {
    "epochs": 1,
    "learning_rate": 1e-4,
    "start": "plain",
    "context_rate": 0.05,
    "schedule": "cosine",
    "negatives": "apart",
    "opposite": 0.05,
    "warps": 0.05,
    "average": 0.95,
}

RECIPES: dict[str, dict[str, Any]] = {
    "dccnet": {"protocol": "scnet"},  # the paper's validation
    # docs/tiny.md has the measurements.
    "tiny": {"epochs": 4, "learning_rate": 1e-3, "warps": 0.1},
    "small": _SMALL,
    "medium": _SMALL,
}


def recipe(preset: str) -> dict[str, Any]:
    """The settings of a preset that differ from the defaults.

    Keys are fields of :class:`~dccnet.training.settings.TrainSettings`.
    """
    return RECIPES.get(preset, {})
