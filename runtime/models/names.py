"""From a model's name to the folder of its bundle."""

from __future__ import annotations

import os
from pathlib import Path

from dccnet.runtime.bundle import MANIFEST, Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.user_cache import user_cache

DEFAULT = "small-1"
"""The built-in model that is used where none is named."""
BUILT_IN = Path(__file__).parent
"""Each folder in it that is a bundle comes with dcc."""


def user_folder() -> Path | None:
    """``$XDG_CACHE_HOME/dcc/models``, or ``~/.cache/dcc/models``: a bundle in it has its folder's name.

    None for a user without a home folder.
    """
    try:
        return user_cache() / "models"
    except DccError:
        return None


def named_models() -> dict[str, Path]:
    """Folder of each model that has a name, built-in ones first; their files are not checked."""
    found: dict[str, Path] = {}
    for folder in filter(None, (BUILT_IN, user_folder())):
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def find_model(model: str | os.PathLike[str]) -> Path:
    """The path ``model`` if a file or folder is there; else the model of this name; else the path again."""
    path = Path(model)
    return path if path.exists() else named_models().get(str(model), path)


def open_bundle(model: str | os.PathLike[str] | None = None) -> Bundle:
    """Open a bundle by its path or name; None: the built-in model.

    Raises :class:`BundleError` as :meth:`Bundle.open` does.
    """
    return Bundle.open(BUILT_IN / DEFAULT if model is None else find_model(model))
