"""TSS (Taniai et al., CVPR 2016): dense flow on the foreground, three groups of pairs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.benchmark import Benchmark, locate
from dccnet.evaluation.dense_flow import dense_flow, kit_flow
from dccnet.evaluation.pairs import Pair, file_picture, find_picture, numbered_rows
from dccnet.evaluation.published import TSS_GROUPS
from dccnet.evaluation.scoring import Case, Truth
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import sha256
from dccnet.runtime.images import read_bytes as read_picture
from dccnet.runtime.reading import read_bytes
from dccnet.runtime.writers import FLO_MAGIC

LISTS = ("test_pairs_tss.csv",)
COLUMNS = 5
NO_FLOW = 1e9
"""Larger values mean unknown flow; TSS's evaluation kit writes 1e10."""
LONGEST_SIDE = 20_000
"""In pixels; a flow file that claims more is damaged."""


def tss(data: Path, root: Path | None = None, keep_border: bool = False) -> Benchmark:
    """TSS. Matches on the source's border are misses, as in the released code, unless ``keep_border``.

    Raises :class:`DataError`, which names the line, if something is missing or malformed.
    """
    flow = partial(kit_flow, keep_border=keep_border)
    border = "scored as they are" if keep_border else "misses"
    path, folder = locate(data, LISTS)
    cases = [
        _case(row, root or folder, number, f"{path}, line {number}") for number, row in numbered_rows(path)
    ]
    return Benchmark(
        name="tss",
        title="TSS",
        protocol="dense flow from the target to the source, as the source's file shows it, on the target's "
        "foreground, threshold α × longer side of the source; matches on the source's border are "
        f"{border}; mean over pairs of a group, then over groups",
        cases=cases,
        score=dense_flow(flow),
        flow=flow,
        alphas=(0.05,),
        digest=sha256(path),
        classes=TSS_GROUPS,
        mean_over="classes",
        point_name="foreground pixels",
    )


def _case(row: list[str], root: Path, number: int, where: str) -> Case:
    if len(row) != COLUMNS:
        raise DataError(
            f"{where}: there are {len(row)} columns; TSS's list has {COLUMNS}: two paths, flow direction, "
            "flip A, category"
        )
    direction = _choice(row[2], (1, 2), "the flow's direction", where)
    flip = _choice(row[3], (0, 1), "flip A", where)
    group = _choice(row[4], (1, 2, 3), "the category", where)
    source, target = (find_picture(root, name, where) for name in row[:2])
    folder = source.parent
    flow, mask = folder / f"flow{direction}.flo", folder / f"mask{direction}.png"
    for file in (flow, mask):
        if not file.is_file():
            raise DataError(
                f"{where}: {file} does not exist; download the benchmark again (dcc data check tss)"
            )
    pair = Pair(file_picture(source, bool(flip)), file_picture(target), TSS_GROUPS[group - 1])
    named = Path(row[0].strip().replace("\\", "/")).parent / flow.name
    # Flows are always written below the output folder, also if the list's paths lead elsewhere.
    relative = Path(*(part for part in named.parts if part not in ("..", named.anchor)))
    # The pair's name includes the flow's number, because a folder has two pairs, one per direction.
    name = f"{number - 1}: {relative.as_posix()}"
    return Case(name, pair, truth=partial(_truth, flow, mask), flow_path=relative.as_posix())


def _choice(text: str, allowed: tuple[int, ...], what: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value not in allowed:
        raise DataError(f"{where}: {what} must be one of {', '.join(map(str, allowed))}, not '{text}'")
    return int(value)


def _truth(flow: Path, mask: Path) -> Truth:
    image = cv2.imdecode(np.frombuffer(read_picture(mask), np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{mask} is not a picture that OpenCV can decode, or it is damaged")
    return Truth(read_flo(flow), np.asarray(image) > 0)


def read_flo(path: Path) -> NDArray[np.float32]:
    """A flow ``(H, W, 2)`` in Middlebury's format: (u, v) in pixels, NaN where it is unknown.

    Raises :class:`DataError` if the file is damaged.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != np.float32(FLO_MAGIC):
        raise DataError(f"{path} is not a Middlebury .flo file")
    width, height = (int(v) for v in np.frombuffer(data, "<i4", 2, 4))
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise DataError(f"{path} is damaged: its header claims {width}x{height} pixels")
    if len(data) != 12 + 8 * width * height:
        raise DataError(
            f"{path} is damaged: it has {len(data)} bytes, but {width}x{height} pixels take "
            f"{12 + 8 * width * height}"
        )
    flow = np.frombuffer(data, "<f4", 2 * width * height, 12).reshape(height, width, 2).astype(np.float32)
    flow[(np.abs(flow) > NO_FLOW).any(axis=2)] = np.nan
    return flow
