"""Every reader answers a damaged file with a result or with one sentence, and soon.

The seeds are fixed: a failure names the reader and the number of the input, which makes it again.
"""

from __future__ import annotations

import io
import random
import shutil
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dccnet.calibration.int8.table import read_table
from dccnet.calibration.plan_file import read_plan_file
from dccnet.evaluation.benchmarks.tss import read_flo
from dccnet.evaluation.journal import Journal
from dccnet.evaluation.pairs import read_pairs
from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.annotations.files import read_annotations, write_annotations
from dccnet.runtime.annotations.model import AnnotationSet, Category, Instance, Picture, no_points
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.card import read_card
from dccnet.runtime.tensorrt.plan import read_plan, read_sidecar
from dccnet.runtime.unpack import unpack
from dccnet.runtime.video.mask_files import read_mask
from dccnet.runtime.video.points_files import read_points
from dccnet.runtime.video.sources import open_source
from dccnet.runtime.writers import encode_flo
from dccnet.training.ablation.plan import read_plan as read_sweep
from dccnet.training.settings import RunFolder
from dccnet.weights.checkpoint import load_checkpoint
from dccnet.weights.official import _read_state as read_pickle
from tests.helpers import official
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.mutations import mutate, mutate_text
from tests.helpers.paths import DATA, ROOT

IDENTITY = {"benchmark": "pairs"}
SIDECAR = "engines/encoder.tensorrt_rtx.engine.json"
SECONDS = 20.0
"""An input that takes longer hangs; the slowest takes a fraction of a second on a quiet machine."""


@dataclass(frozen=True)
class Reader:
    """What reads a file, and a file that it reads without complaint."""

    seed: str
    """The file, in the folder that the fixture makes."""
    read: Callable[[Path], Any]
    count: int = 200
    text: bool = False
    hashed: bool = False
    """Whether a hash covers every byte, so that any change must be refused."""


def _journal(path: Path) -> None:
    with Journal(path.parent, IDENTITY):
        pass


def _frames(path: Path) -> None:
    source = open_source(path)
    for _ in zip(range(40), source.frames, strict=False):
        pass


def _unpack(path: Path) -> None:
    target = path.parent / "unpacked"
    unpack(path, target, largest=1 << 20)
    shutil.rmtree(target)


READERS = {
    "manifest": Reader("bundle/manifest.json", lambda path: Bundle.open(path.parent), 500, text=True),
    "graph": Reader("bundle/matcher.onnx", lambda path: Matcher.open(path.parent), 300, hashed=True),
    "engine": Reader("engine/x.engine", read_plan, 300, hashed=True),
    "sidecar": Reader(SIDECAR, lambda path: read_sidecar(path.with_suffix("")), text=True),
    "card": Reader("model/card.json", lambda path: read_card(path.parent), text=True),
    "checkpoint": Reader("checkpoint.safetensors", load_checkpoint, 100),
    "published checkpoint": Reader("published.pth.tar", read_pickle),
    "run": Reader("run/config.json", lambda path: RunFolder(path.parent).read_config(), 400, text=True),
    "sweep": Reader("sweep/sweep.json", lambda path: read_sweep(path.parent), text=True),
    "INT8 plan": Reader("plan-int8/plan.json", read_plan_file, text=True),
    "half-precision plan": Reader("plan-half/plan.json", read_plan_file, text=True),
    "ranges": Reader("int8/calibration.json", read_table, text=True),
    "journal": Reader("journal/progress.jsonl", _journal, text=True),
    "list of pairs": Reader("pairs.csv", lambda path: read_pairs(path, path.parent), 400, text=True),
    "points in CSV": Reader("points.csv", lambda path: read_points(path, "a.png"), text=True),
    "points in JSON": Reader("points.json", lambda path: read_points(path, "a.png"), text=True),
    "points in COCO": Reader("coco.json", lambda path: read_points(path, "a.png"), text=True),
    "annotations in COCO": Reader("annotations-coco.json", read_annotations, text=True),
    "annotations of CVAT": Reader("annotations-cvat.xml", read_annotations, text=True),
    "annotations of Label Studio": Reader("annotations-labelstudio.json", read_annotations, text=True),
    "annotations of DeepLabCut": Reader("annotations-dlc.csv", read_annotations, text=True),
    "annotations in CSV": Reader("annotations-csv.csv", read_annotations, text=True),
    "PNG": Reader("a.png", read_image),
    "JPEG": Reader("a.jpg", read_image),
    "WebP": Reader("a.webp", read_image),
    "TIFF": Reader("a.tif", read_image),
    "mask": Reader("mask.png", read_mask),
    "video": Reader("a.mp4", _frames, 150),
    "Motion-JPEG": Reader("a.avi", _frames, 150),
    "flow": Reader("a.flo", read_flo),
    "zip": Reader("a.zip", _unpack),
    "tar": Reader("a.tar.gz", _unpack),
}  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good file of every kind."""
    folder = tmp_path_factory.mktemp("seeds")
    with tarfile.open(DATA / "files-of-0.1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    folder /= "files-of-0.1"
    shutil.copytree(ROOT / "runtime" / "models" / "small-1", folder / "model", ignore=lambda *_: ["*.onnx"])
    _make_pictures(folder)
    _make_points(folder)
    _make_annotations(folder)
    _make_archives(folder)
    official.write(folder / "published.pth.tar", {"a.weight": torch.ones(3, 4), "b.bias": torch.ones(3)})
    (folder / "journal").mkdir()
    with Journal(folder / "journal", IDENTITY) as journal:
        for number in range(4):
            journal.add_outcome(number, Outcome(f"pair {number}", "cat", 3, (2,), 90.0, (1.5, 2.0, 30.0)))
    _make_engine(folder / "engine", folder / SIDECAR)
    return folder


def _make_pictures(folder: Path) -> None:
    picture = tiny.picture(0, 64, 48)
    for name in ("a.png", "b.png", "a.jpg", "a.webp", "a.tif"):
        tiny.write(folder / name, picture)
    tiny.write(folder / "mask.png", (picture[..., :1] > 127).astype(np.uint8))
    for name, codec in (("a.mp4", "mp4v"), ("a.avi", "MJPG")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 48))
        for shift in range(10):
            writer.write(np.roll(picture, shift, axis=1))
        writer.release()
    (folder / "a.flo").write_bytes(encode_flo(np.ones((48, 64, 2), np.float32)))


def _make_points(folder: Path) -> None:
    (folder / "pairs.csv").write_text(
        f"{tiny.KEYPOINTS}\n" + "a.png,b.png,1,5;20;33,4;15;28,6;21;30,5;16;27\n" * 4
    )
    (folder / "points.csv").write_text("image,x,y,label\n" + "a.png,10.5,20,eye\nb.png,1,2,ear\n" * 3)
    (folder / "points.json").write_text('{"points": [[1, 2], [3.5, 4], [5, 6]], "labels": ["a", "b", "c"]}')
    (folder / "coco.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}], "categories": '
        '[{"id": 1, "name": "cat", "keypoints": ["eye", "ear"]}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2, 30, 40, 1]}]}'
    )


def _make_annotations(folder: Path) -> None:
    points, visibility, _ = no_points(2)
    points[:], visibility[:] = [[1, 2], [30, 40]], [2, 1]
    mask = np.zeros((48, 64), bool)
    mask[10:20, 5:30] = True
    one = Instance("cat", points, visibility, np.array([1.0, 2, 20, 30]), RunLengths.of(mask))
    pictures = tuple(Picture(name, (48, 64), (one,)) for name in ("a.png", "b.png"))
    annotations = AnnotationSet((Category("cat", ("eye", "ear"), ((0, 1),)),), pictures)
    for name in ("coco.json", "cvat.xml", "labelstudio.json", "dlc.csv", "csv.csv"):
        write_annotations(annotations, folder / f"annotations-{name}", name.partition(".")[0], {})


def _make_archives(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as pack, \
            tarfile.open(folder / "a.tar.gz", "w:gz") as tar:  # fmt: skip
        for name in ("x/a.txt", "x/b.txt"):
            content = name.encode() * 200
            pack.writestr(name, content)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _make_engine(folder: Path, sidecar: Path) -> None:
    """A plan of zeros: only what reads it before the engine library does is tested here."""
    import json

    from dccnet.runtime.files import sha256_of

    folder.mkdir()
    content = bytes(4096)
    values = json.loads(sidecar.read_text())
    values["engine"] |= {"sha256": sha256_of(content), "file": "x.engine"}
    (folder / "x.engine").write_bytes(content)
    (folder / "x.engine.json").write_text(json.dumps(values))


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_answered_with_one_sentence(
    name: str, seeds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(seeds)  # the sweep names its list from there
    reader = READERS[name]
    path = seeds / reader.seed
    whole = path.read_bytes()
    reader.read(path)  # the seed is good
    try:
        for number in range(reader.count):
            damaged = (mutate_text if reader.text else mutate)(whole, random.Random(f"{name} {number}"))
            path.write_bytes(damaged)
            _answer(reader, path, f"{name} {number}", refused=reader.hashed and damaged != whole)
    finally:
        path.write_bytes(whole)


def _answer(reader: Reader, path: Path, number: str, refused: bool) -> None:
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except DccError as error:
        sentence = str(error)
        assert sentence and len(sentence) < 2000, (number, sentence)
    except Exception as error:
        raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
    else:
        assert not refused, f"input {number} was altered, and nothing said so"
    assert time.perf_counter() - start < SECONDS, f"input {number} took too long"


def test_there_are_many_inputs() -> None:
    assert sum(reader.count for reader in READERS.values()) >= 5000
