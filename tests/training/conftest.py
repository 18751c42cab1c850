"""Trainings of a second."""

from __future__ import annotations

import pytest

from dccnet.training import datasets


@pytest.fixture(autouse=True)
def few_validation_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on photographs validates on 100 pairs, which takes longer than the steps of these tests."""
    monkeypatch.setattr(datasets, "VALIDATION_PAIRS", 5)
