"""Bundles that the tests share."""

from __future__ import annotations

from collections.abc import Callable

from dccnet.runtime.bundle import Bundle

Bundles = Callable[[str, str], Bundle]
"""By precision and lowering."""
