"""Choices of ``dcc tune`` that hold for a bundle on this machine, without measuring."""

from __future__ import annotations

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.tuning.choice import SCHEMA, Choice, Way, digests, packages, this_machine


def choice_for(bundle: Bundle, encoder: Way, matcher: Way) -> Choice:
    """A choice that holds here and now."""
    return Choice(SCHEMA, digests(bundle.manifest), this_machine(), packages(), encoder, matcher, rounds=3)
