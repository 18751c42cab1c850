"""`dcc match --video` in a process of its own: what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import read_image, write_image
from dccnet.runtime.video.mask_files import encode_mask, read_mask
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.streams import frames_in


def test_match_video(dcc: Cli, bundle: Bundle, pictures: list[Path], video: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    reference = ["--reference", pictures[0], "--video", video]
    result = dcc("match", bundle.path, *reference, "--points", "50,60", "-o", output)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert lines[3]["time_s"] == 0.12 and lines[0]["points_a"] == [[50.0, 60.0]]
    capture = cv2.VideoCapture(str(output))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    to_stdout = dcc("match", bundle.path, *reference, "--points", "50,60")
    assert [json.loads(line) for line in to_stdout.stdout.splitlines()] == lines


def test_a_truncated_video_is_matched_as_far_as_it_goes(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = dcc_here("match", bundle.path, "--reference", pictures[0], "--video", path)
    frames = len(result.stdout.splitlines())
    assert 0 < frames < 20
    assert result.returncode == 1 and "cut.avi is truncated" in result.stderr


def test_a_reference_can_be_a_frame_of_the_video_itself(dcc_here: Cli, bundle: Bundle, video: Path) -> None:
    first = dcc_here("match", bundle.path, "--reference", "frame:0", "--video", video, "--batch", "5")
    previous = dcc_here(
        "match", bundle.path, "--reference", "previous", "--video", video, "--points", "80,60"
    )
    lines = [[json.loads(line) for line in run.stdout.splitlines()] for run in (first, previous)]
    assert [line["reference"] for line in lines[0]] == ["frame:0"] * 12
    assert [line["reference"] for line in lines[1]] == ["frame:0", *(f"frame:{i}" for i in range(11))]
    assert lines[1][4]["points_a"] == lines[1][3]["points_b"]


def test_one_coco_file_contains_the_points_of_several_references(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    coco = {
        "images": [{"id": i, "file_name": path.name} for i, path in enumerate(pictures)],
        "categories": [{"id": 1, "keypoints": ["eye", "tail"]}],
        "annotations": [
            {"image_id": i, "category_id": 1, "keypoints": [10 + i, 20, 2, 30, 40, 2 * (i != 1)]}
            for i in range(len(pictures))
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    references = [flag for path in pictures for flag in ("--reference", path)]
    points = ["--points", tmp_path / "coco.json"]
    run = dcc_here("match", bundle.path, *references, "--video", pictures[0].parent, *points)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(lines) == len(pictures)
    for line in lines:
        number = list(map(str, pictures)).index(line["reference"])
        assert line["labels"] == (["eye"] if number == 1 else ["eye", "tail"])
        assert line["points_a"][0] == [10.0 + number, 20.0]


def test_all_options_together_and_the_table_of_stages(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], video: Path, tmp_path: Path
) -> None:
    height, width = read_image(pictures[0]).shape[:2]
    write_image(tmp_path / "mask.png", np.full((height, width), 255, np.uint8))
    masks = ["--mask", tmp_path / "mask.png", "--save-masks", tmp_path / "masks"]
    carried = [*masks, "--box", "10,10,50,50", "--points", "20,30", "--smooth", "--draw", "overlay"]
    written = ["-o", tmp_path / "o.avi", "-o", tmp_path / "o.csv", "--json", "--stats", "--frames", "7"]
    run = dcc_here("match", bundle.path, "--reference", pictures[0], "--video", video, *carried, *written)
    assert run.returncode == 0, run.stderr
    *lines, stats = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(lines) == 7 and stats["stats"]["frames"] == 7 and stats["stats"]["dropped"] == 0
    assert set(stats["stats"]["stages"]) == {
        "decode",
        "resize",
        "encode",
        "match",
        "carry",
        "draw",
        "write",
    }
    assert re.search(r"limited by \w+", run.stderr) and "p95" in run.stderr
    assert frames_in(tmp_path / "o.avi") == 7 and len(list((tmp_path / "masks").iterdir())) == 14
    refused = dcc_here(
        "match", bundle.path, "--reference", pictures[1], "--video", video, "--mask", tmp_path / "mask.png"
    )
    one_sentence(refused, 2, "draw it on that picture")


def test_a_mask_comes_through_a_pipe_with_its_palette(
    dcc: Cli, bundle: Bundle, pictures: list[Path], video: Path, tmp_path: Path
) -> None:
    """A pipe can be read once only."""
    labels = np.ones(read_image(pictures[0]).shape[:2], np.uint8)
    palette = ((b"PLTE", bytes(range(6))),)
    end, start = os.pipe()
    os.write(start, encode_mask(labels, palette))
    os.close(start)
    masks = ["--mask", "/dev/stdin", "--save-masks", tmp_path / "masks", "--frames", "1"]
    run = dcc("match", bundle.path, "--reference", pictures[0], "--video", video, *masks, stdin=end)
    os.close(end)
    assert run.returncode == 0, run.stderr
    assert palette in [read_mask(path)[1] for path in (tmp_path / "masks").iterdir()]


def test_a_picture_that_cannot_be_read_is_reported_at_the_end(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for i, path in enumerate(pictures):  # of three sizes
        (frames / f"{i}.jpg").write_bytes(path.read_bytes())
    (frames / "1a.jpg").write_bytes(pictures[0].read_bytes()[:4000])
    output = tmp_path / "o.mp4"
    run = dcc_here("match", bundle.path, "--reference", pictures[0], "--video", frames, "-o", output)
    assert run.returncode == 1 and "1 of 4 frames could not be read" in run.stderr
    assert "1a.jpg is truncated" in run.stderr and "Traceback" not in run.stderr
    lines = [json.loads(line) for line in output.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 3] and frames_in(output) == 3


def test_a_video_is_matched_beyond_a_damaged_part(dcc_here: Cli, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "damaged.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    start, end = int(0.4 * len(data)), int(0.5 * len(data))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    output = tmp_path / "o.mp4"
    run = dcc_here("match", bundle.path, "--reference", "frame:0", "--video", path, "-o", output)
    assert "Traceback" not in run.stderr and run.returncode in (0, 1)
    lines = output.with_suffix(".jsonl").read_text().splitlines()
    assert 15 <= len(lines) <= 20 and frames_in(output) == len(lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_and_finishes_the_files(
    bundle: Bundle, pictures: list[Path], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for i in range(3000):
        (frames / f"{i:04}.jpg").symlink_to(pictures[0])
    arguments = ["match", bundle.path, "--reference", pictures[0], "--video", frames, "-o", out / "o.mp4"]
    command = [sys.executable, "-m", "dccnet", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not any(p.stat().st_size for p in out.rglob("*.jsonl")):
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in stderr, stderr
    assert sorted(path.name for path in out.iterdir()) == ["o.jsonl", "o.mp4"]
    lines = [json.loads(line) for line in (out / "o.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(len(lines))) and 0 < len(lines) < 3000
    assert frames_in(out / "o.mp4") == len(lines)
