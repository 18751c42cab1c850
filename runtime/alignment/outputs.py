"""Files of an alignment, by suffix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import SUFFIXES
from dccnet.runtime.writers import encode_flo


def _write_npy(path: Path, flow: NDArray[np.float32]) -> None:
    with path.open("wb") as file:  # NumPy would append its own suffix to a path
        np.save(file, flow)


FLOWS: dict[str, Callable[[Path, NDArray[np.float32]], object]] = {
    ".flo": lambda path, flow: path.write_bytes(encode_flo(flow)),
    ".npy": _write_npy,
}


def check_outputs(outputs: Sequence[Path], mask: Path | None) -> list[Path]:
    """Those of the outputs that are pictures. Raises :class:`UsageError` for an unknown suffix, and where
    two files are one."""
    pictures = [path for path in outputs if path.suffix.lower() in SUFFIXES]
    for path in outputs:
        if path.suffix.lower() not in (*SUFFIXES, *FLOWS):
            known = ", ".join([*sorted(SUFFIXES), *FLOWS])
            raise UsageError(f"cannot write '{path}': its suffix must be one of {known}")
    if mask is not None and mask.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot write the mask '{mask}': use one of {', '.join(sorted(SUFFIXES))}")
    files = [path.resolve() for path in (*outputs, *([] if mask is None else [mask]))]
    for path in files:
        if files.count(path) > 1:
            raise UsageError(f"two outputs are {path.name}: give each another name")
    return pictures


def write_flow(path: Path, flow: NDArray[np.float32]) -> None:
    """Write ``(H, W, 2)`` float32 atomically, as ``.flo`` or ``.npy``."""
    with atomic_path(path) as temporary:
        FLOWS[path.suffix.lower()](temporary, flow)
