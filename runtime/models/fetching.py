"""Fetch a bundle from its address into the user's folder of models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from dccnet.runtime.bundle import MANIFEST, Bundle
from dccnet.runtime.download import download, require_downloader
from dccnet.runtime.errors import BundleError, DataError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.locks import LOCK_FILE, output_lock
from dccnet.runtime.models.addresses import Address, ArchiveAddress, HubAddress
from dccnet.runtime.models.hub import fetch_from_hub, require_hub
from dccnet.runtime.models.kept import Origin, kept_folder, user_folder, write_origin
from dccnet.runtime.models.limits import LARGEST, files_of
from dccnet.runtime.unpack import unpack

PAGE = "docs/models.md"
_PAUSE = 0.25  # seconds before the second attempt of a download; doubles


def fetch_model(address: Address, on_note: Callable[[str], None] = lambda text: None) -> Path:
    """Fetch the bundle and return its folder; one that was fetched before is replaced.

    Only the files that the manifest names are kept, without engines. ``on_note`` is called before the
    transfer. Raises :class:`BundleError` for an address without a bundle, and :class:`DccError` where it
    cannot be fetched. An older copy then stays.
    """
    if isinstance(address, HubAddress):
        require_hub()
    else:
        require_downloader("hub")
    on_note(f"fetching {address}")
    folder = kept_folder(address)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        try:
            if isinstance(address, HubAddress):
                commit = fetch_from_hub(address, temporary)
            else:
                commit = None
                _fetch_archive(address, temporary)
            Bundle.open(temporary)
        except BundleError as error:
            raise BundleError(str(error).replace(str(temporary), str(address))) from error
        write_origin(temporary, Origin(str(address), commit))
    return folder


def _fetch_archive(address: ArchiveAddress, folder: Path) -> None:
    downloads = user_folder() / "downloads"  # not temporary: a transfer can be resumed
    archive, unpacked = downloads / address.sha256, folder.parent / "unpacked"
    with output_lock(downloads, address, f".{address.sha256}{LOCK_FILE}"):
        download(
            address.url,
            archive,
            known_hash=address.sha256,
            largest=LARGEST,
            on_bytes=lambda there, total: None,
            pause=_PAUSE,
            extra="hub",
            page=PAGE,
        )
        try:
            unpack(archive, unpacked, LARGEST)
        except DataError as error:
            raise BundleError(str(error).replace(str(archive), str(address))) from error
        finally:
            archive.unlink()
    source = _bundle_in(unpacked, address)
    try:
        names = files_of(source)
    except BundleError as error:
        raise BundleError(str(error).replace(str(source), str(address))) from error
    for name in names:
        if (source / name).is_file():
            shutil.move(source / name, folder / name)


def _bundle_in(folder: Path, address: ArchiveAddress) -> Path:
    """The folder itself, or the only folder in it. Raises :class:`BundleError`."""
    entries = list(folder.iterdir())
    inner = entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
    for place in (folder, inner):
        if (place / MANIFEST).is_file():
            return place
    raise BundleError(f"{address} is no bundle: it has no {MANIFEST}")
