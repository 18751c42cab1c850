"""Small files that ask for much are refused before they are read: pictures, checkpoints, devices, pipes."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dccnet.network.model import DCCNet
from dccnet.runtime.annotations.files import read_annotations
from dccnet.runtime.errors import CheckpointError, DataError, ImageError
from dccnet.runtime.images import read_image
from dccnet.runtime.pixel_limit import MAX_PIXELS, declared_size, set_max_pixels
from dccnet.runtime.reading import parse_json, read_bytes, read_json
from dccnet.weights.checkpoint import load_checkpoint
from dccnet.weights.official import import_official
from tests.helpers.commands import Cli
from tests.helpers.networks import SMALL

Pillow = pytest.importorskip("PIL.Image")
FORMATS = ("png", "jpeg", "webp", "bmp", "gif", "tiff", "ppm", "jpeg2000", "avif")


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    content = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
def test_the_size_is_read_from_the_header(form: str, lossless: bool) -> None:
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": lossless} if form == "webp" else {}
    try:
        Pillow.new("RGB", (37, 21)).save(file, form, **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {form}")
    assert declared_size(file.getvalue()) == (21, 37)


def test_stray_bytes_and_thumbnails_do_not_hide_a_jpegs_size() -> None:
    data = bytes(cv2.imencode(".jpg", np.zeros((21, 37, 3), np.uint8))[1])
    small = bytes(cv2.imencode(".jpg", np.zeros((2, 3, 3), np.uint8))[1])
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(small)) + small
    assert declared_size(data[:2] + thumbnail + b"stray\xff" + data[2:]) == (21, 37)


def test_a_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(_png(20_000, 20_000))
    assert (tmp_path / "bomb.png").stat().st_size < 110_000
    program = """
import resource, sys
from dccnet.runtime.images import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1])
except Exception as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "bomb.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, megabytes = done.stdout.splitlines()
    assert "20000x20000 pixels, more than 178956970" in message
    assert "dcc --max-pixels 400000000 COMMAND" in message and int(megabytes) < 50


def test_the_limit_can_be_changed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    try:
        set_max_pixels(599)
        with pytest.raises(ImageError, match="30x20 pixels, more than 599"):
            read_image(tmp_path / "a.png")
        set_max_pixels(600)
        assert read_image(tmp_path / "a.png").shape == (20, 30, 3)
    finally:
        set_max_pixels(MAX_PIXELS)


def test_the_command_line_has_the_limit(tmp_path: Path, dcc: Cli) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    done = dcc("--max-pixels", "2399", "match", tmp_path / "a.png", tmp_path / "a.png")
    assert done.returncode == 1 and "60x40 pixels, more than 2399" in done.stderr
    assert dcc("--max-pixels", "0", "match", "a", "b").returncode == 2


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_what_waits_or_never_ends_is_no_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(ImageError, match="it is a pipe or a device, not a file"):
        read_image(path)
    with pytest.raises(OSError, match="it is a pipe or a device"):
        read_json(path)


def test_more_bytes_than_the_limit_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 1 MB"):
        read_bytes(tmp_path / "sparse", largest=1 << 20)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_deep_json_is_an_error_like_any_other(text: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("consensus_channels", [10**6, 10**6, 1]),
        ("context_channels", 10**10),
        ("context_kernel", 10**6 + 1),
        ("consensus_kernels", [1001, 1001, 1001]),
        ("image_size", [10**6, 10**6]),
    ],
)
def test_a_checkpoint_cannot_ask_for_terabytes(field: str, value: object, tmp_path: Path) -> None:
    config = json.loads(SMALL.to_json()) | {"consensus_kernels": [3, 3, 3], "consensus_channels": [2, 2, 1]}
    metadata = {"format": "dccnet", "schema": "1", "config": json.dumps(config | {field: value})}
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"far more weights than the file has|from 32 to 4096 pixels"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_tensor_that_repeats_one_number_is_not_counted_by_its_shape(tmp_path: Path) -> None:
    state = {
        "NeighConsensus.conv.0.weight": torch.zeros(1).expand(999, 1, 1, 999, 999, 999),
        "FeatureExtraction.model.21.weight": torch.zeros(1),
    }
    torch.save({"state_dict": state}, tmp_path / "x.pth.tar")
    with pytest.raises(CheckpointError, match="far more weights than the file has"):
        import_official(tmp_path / "x.pth.tar")


def test_a_whole_checkpoint_still_loads(small_model: DCCNet, checkpoint: Path) -> None:
    assert load_checkpoint(checkpoint).config == small_model.config


@pytest.mark.parametrize("kind", ["polygon", "run lengths", "cvat", "brush"])
def test_a_mask_of_a_picture_that_cannot_be_takes_no_memory(kind: str, tmp_path: Path) -> None:
    """A million pixels a side, in some hundred bytes."""
    side = 10**6
    segmentation = {
        "polygon": [[0, 0, 5, 0, 5, 5]],
        "run lengths": {"size": [side, side], "counts": [side**2]},
    }
    if kind in segmentation:
        content: object = {
            "images": [{"id": 1, "file_name": "a.png", "width": side, "height": side}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"image_id": 1, "category_id": 1, "segmentation": segmentation[kind]}],
        }
    elif kind == "brush":
        value = {"format": "rle", "rle": [0, 1, 2, 3], "brushlabels": ["cat"]}
        result = {
            "type": "brushlabels", "from_name": "mask", "to_name": "image", "value": value,
            "original_width": side, "original_height": side,
        }  # fmt: skip
        content = [{"data": {"image": "a.png"}, "annotations": [{"result": [result]}]}]
    else:
        content = (
            f'<annotations><image id="0" name="a.png" width="{side}" height="{side}"><mask label="cat" '
            f'left="0" top="0" width="{side}" height="{side}" rle="{side**2}"/></image></annotations>'
        )
    path = tmp_path / ("a.xml" if kind == "cvat" else "a.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match="has more pixels than --max-pixels"):
        read_annotations(path)
