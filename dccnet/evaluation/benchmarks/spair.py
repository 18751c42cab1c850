"""SPair-71k (Min et al., 2019): a JSON file for each pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.pairs import Pair, file_picture, find_picture
from dccnet.evaluation.published import PF_PASCAL_CLASSES
from dccnet.evaluation.scoring import Case, source_to_target
from dccnet.runtime.checks import as_points
from dccnet.runtime.errors import DataError
from dccnet.runtime.reading import parse_json

CLASSES = tuple(name for name in PF_PASCAL_CLASSES if name not in ("diningtable", "sofa"))
SPLITS = ("test", "val", "trn")


def spair(data: Path, root: Path | None = None, split: str = "test") -> Benchmark:
    """A split of SPair-71k.

    ``data`` contains ``PairAnnotation/{split}`` and ``JPEGImages``, or the folder ``SPair-71k``. Raises
    :class:`DataError`, which names the file, if something is missing or malformed.
    """
    if not (data / "PairAnnotation").is_dir() and (data / "SPair-71k").is_dir():
        data = data / "SPair-71k"
    folder = data / "PairAnnotation" / split
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataError(f"{folder} holds no .json files: give the folder of SPair-71k with --data")
    digest = hashlib.sha256()
    cases = []
    for file in files:
        content = file.read_bytes()
        digest.update(file.name.encode() + b"\0" + content)
        cases.append(_case(file, content, (root or data) / "JPEGImages"))
    return Benchmark(
        name="spair",
        title=f"SPair-71k {split}",
        protocol="source keypoints carried to the target, threshold α × longer side of the target's "
        "bounding box; mean over pairs (per pair) and over keypoints (per point); coordinates 0-based",
        cases=cases,
        score=source_to_target,
        alphas=(0.1,),
        digest=digest.hexdigest(),
        classes=CLASSES,
        carried_to="target",
    )


def _case(file: Path, content: bytes, images: Path) -> Case:
    try:
        values: dict[str, Any] = parse_json(content.decode("utf-8-sig"))
        category = str(values["category"])
        names = [str(values[key]) for key in ("src_imname", "trg_imname")]
        source, target = (as_points(values[key], key) for key in ("src_kps", "trg_kps"))
        x0, y0, x1, y1 = map(float, values["trg_bndbox"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is no annotation of SPair-71k ({error}): download it again") from error
    if category not in CLASSES:
        raise DataError(f"{file}: there is no category '{category}' in SPair-71k")
    if len(source) != len(target):
        raise DataError(f"{file}: src_kps and trg_kps contain different numbers of keypoints")
    if len(source) == 0:
        raise DataError(f"{file}: there are no keypoints")
    length = max(x1 - x0, y1 - y0)
    if not 0 < length < float("inf"):
        raise DataError(f"{file}: trg_bndbox is no box: {values['trg_bndbox']}")
    paths = [find_picture(images / category, name, str(file)) for name in names]
    pair = Pair(file_picture(paths[0]), file_picture(paths[1]), category, source, target)
    return Case(file.stem, pair, length=length)
