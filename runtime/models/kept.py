"""Where models are kept: bundles that the user put there, and those that were fetched from an address."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from dccnet.runtime.bundle import MANIFEST
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import BundleError, DccError
from dccnet.runtime.files import write_text
from dccnet.runtime.models.addresses import Address
from dccnet.runtime.reading import read_json
from dccnet.runtime.user_cache import user_cache

ORIGIN = "origin.json"
_BY_ADDRESS = "by-address"


@dataclass(frozen=True, slots=True)
class Origin:
    """The content of ``origin.json`` in the folder of a fetched bundle."""

    address: str
    commit: str | None
    """The commit that the revision was when it was fetched; None for an archive."""


def user_folder() -> Path:
    """``$XDG_CACHE_HOME/dcc/models``, or ``~/.cache/dcc/models``: a bundle in it has its folder's name.

    Raises :class:`DccError` for a user without a home folder.
    """
    return user_cache() / "models"


def kept_folder(address: Address) -> Path:
    """The folder of the bundle with this address, whether it is there or not.

    Raises as :func:`user_folder`.
    """
    return user_folder() / _BY_ADDRESS / address.key


def find_kept(address: Address) -> Path | None:
    """The folder of the bundle with this address; None if it has not been fetched.

    Raises as :func:`user_folder`.
    """
    folder = kept_folder(address)
    return folder if (folder / MANIFEST).is_file() else None


def kept_models() -> dict[str, Path]:
    """Folder of each bundle that the user put into the folder of models, by its name, and of each fetched
    one, by its address.

    Fetched ones without a readable origin are left out. Empty for a user without a home folder.
    """
    try:
        folder = user_folder()
    except DccError:
        return {}
    found = {manifest.parent.name: manifest.parent for manifest in sorted(folder.glob(f"*/{MANIFEST}"))}
    for path in sorted((folder / _BY_ADDRESS).glob(f"*/{ORIGIN}")):
        try:
            origin = read_origin(path.parent)
        except BundleError:
            continue
        if origin is not None:
            found[origin.address] = path.parent
    return found


def read_origin(folder: Path) -> Origin | None:
    """Where a bundle was fetched from; None for others. Raises :class:`BundleError`."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    try:
        return decode(Origin, read_json(path))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged ({error}): fetch the model again") from error


def write_origin(folder: Path, origin: Origin) -> None:
    """Write it into a bundle's folder, atomically."""
    write_text(folder / ORIGIN, json.dumps(dataclasses.asdict(origin), indent=2) + "\n")
