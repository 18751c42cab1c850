"""What is taken of a bundle from somewhere else, and how much at most."""

from __future__ import annotations

from pathlib import Path

from dccnet.runtime.bundle import MANIFEST, read_manifest
from dccnet.runtime.errors import BundleError
from dccnet.runtime.models.card import CARD

LARGEST = 4 << 30  # bytes; an ONNX file has at most 2 GiB
LARGEST_MANIFEST = 16 << 20  # bytes


def files_of(folder: Path) -> list[str]:
    """Names of the files of the bundle whose manifest is in ``folder``, its card included.

    Engines are not among them: they are programs for a GPU, and are built where they run. Raises
    :class:`BundleError` for a manifest that cannot be read or names a file elsewhere.
    """
    manifest = read_manifest(folder)
    names = [graph.file for graph in manifest.files]
    if manifest.calibration is not None:
        names.append(manifest.calibration.table)
    for name in names:
        if Path(name).name != name or "\\" in name:
            raise BundleError(f"the manifest of {folder} names a file outside the bundle ('{name}')")
    return [MANIFEST, *names, CARD]
