"""From a model's name to the folder of its bundle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dccnet.runtime.bundle import MANIFEST, Bundle
from dccnet.runtime.models.addresses import parse_address
from dccnet.runtime.models.kept import find_kept, kept_models

DEFAULT = "small-1"
"""The built-in model that is used where none is named."""
BUILT_IN = Path(__file__).parent
"""Each folder in it that is a bundle comes with dcc."""


def named_models() -> dict[str, Path]:
    """Folder of each model that has a name, built-in ones first, and of each fetched one by its address.

    Their files are not checked.
    """
    built_in = {path.parent.name: path.parent for path in sorted(BUILT_IN.glob(f"*/{MANIFEST}"))}
    return built_in | kept_models() | built_in  # listed first, and not replaced by others


def find_model(model: str | os.PathLike[str], on_note: Callable[[str], None] = lambda text: None) -> Path:
    """The path ``model`` if a file or folder is there; else the model of this name; else the path again.

    An address (:mod:`~dccnet.runtime.models.addresses`) is fetched unless it was before; ``on_note`` is
    called before a transfer. Raises the errors of
    :func:`~dccnet.runtime.models.fetching.fetch_model` and :class:`UsageError` for an incomplete address.
    """
    address = parse_address(model)
    if address is not None:
        from dccnet.runtime.models.fetching import fetch_model  # what only a transfer needs takes long

        return find_kept(address) or fetch_model(address, on_note)
    path = Path(model)
    return path if path.exists() else named_models().get(str(model), path)


def open_bundle(
    model: str | os.PathLike[str] | None = None, on_note: Callable[[str], None] = lambda text: None
) -> Bundle:
    """Open a bundle by its path, name or address (:func:`find_model`); None: the built-in model.

    Raises :class:`BundleError` as :meth:`Bundle.open` does, and the errors of :func:`find_model`.
    """
    return Bundle.open(BUILT_IN / DEFAULT if model is None else find_model(model, on_note))
