"""The files with a video's results, and what they contain when something fails."""

from __future__ import annotations

import csv
import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dccnet.runtime.commands.video import write_stream
from dccnet.runtime.errors import DccError, UsageError, VideoError
from dccnet.runtime.video.drawing import STYLES, FrameDrawer, draw_frame
from dccnet.runtime.video.outputs import files
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.video.outputs.sink import OutputFrame
from dccnet.runtime.video.references import Reference
from tests.helpers.streams import IdentityBackend, frames_in, grey, greys, matcher_of, stage_threads, stream

POINTS = [[10.0, 20.0], [30.0, 40.5]]


def test_every_format_contains_the_same_results(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    names = (
        "a.mp4",
        "a.avi",
        "a.jsonl",
        "a.csv",
        "a.npz",
        "a.h5",
        "flow/%03d.flo",
        "drawn/%d.png",
        "m/%d.json",
    )
    outputs = Outputs([tmp_path / name for name in names], tmp_path / "masks")
    boxes = [[5, 5, 20, 20]]
    mask = np.full((48, 60), 9, np.uint8)
    write_stream(stream(points=POINTS, labels=["nose", "tail"], boxes=boxes, mask=mask), outputs)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4] and lines[2]["schema"] == 1
    assert lines[2]["labels"] == ["nose", "tail"] and lines[2]["visible"] == [True, True]
    assert lines[2]["reference"] == "reference 0" and lines[2]["time_s"] == 0.08
    assert np.allclose(lines[2]["points_b"], POINTS, atol=0.01)  # every cell matches itself
    assert np.allclose(lines[2]["boxes"]["boxes_b"], boxes, atol=0.01)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(rows) == 10 and rows[5]["frame"] == "2" and rows[5]["label"] == "tail"
    assert float(rows[5]["y_b"]) == lines[2]["points_b"][1][1] and rows[5]["visible"] == "1"
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["frame"].tolist() == [0, 1, 2, 3, 4] and arrays["end"].tolist() == [2, 4, 6, 8, 10]
        assert np.allclose(arrays["points_b"][4:6], lines[2]["points_b"], atol=0.001)
        assert arrays["index_a"].shape == (5, 4, 5) and arrays["size"].tolist() == [[48, 60]] * 5
        assert arrays["references"].tolist() == ["reference 0"] and arrays["boxes_b"].shape == (5, 1, 4)
    with h5py.File(tmp_path / "a.h5") as matches, h5py.File(tmp_path / "a-features.h5") as features:
        pair = matches["reference 0/frame-000002"]
        assert pair["matches0"][:].tolist() == list(range(20)) and pair["matching_scores0"].shape == (20,)
        assert features["frame-000002"]["keypoints"][-1].tolist() == [59, 47]
    assert frames_in(tmp_path / "a.mp4") == frames_in(tmp_path / "a.avi") == 5
    assert cv2.imread(str(tmp_path / "drawn" / "4.png")).shape == (48, 60 + 8 + 60, 3)
    flow = (tmp_path / "flow" / "003.flo").read_bytes()
    assert len(flow) == 12 + 48 * 60 * 8 and json.loads((tmp_path / "m" / "0.json").read_text())["grid_a"]
    carried = cv2.imread(str(tmp_path / "masks" / "000004.png"), cv2.IMREAD_UNCHANGED)
    assert (carried == 9).all()
    assert (cv2.imread(str(tmp_path / "masks" / "000004-confidence.png"), 0) == 255).all()


def test_arrays_identify_references_by_frame_or_by_name(tmp_path: Path) -> None:
    matcher = matcher_of(IdentityBackend())
    for name, reference, wanted in (("a", "previous", [0, 0, 1]), ("b", [grey(0), grey(2)], [-1, -1, -1])):
        write_stream(matcher.stream(greys(3), reference), Outputs([tmp_path / f"{name}.npz"]))
        with np.load(tmp_path / f"{name}.npz") as arrays:
            assert arrays["reference_frame"].tolist() == wanted
            if name == "b":
                assert arrays["reference"].tolist() in ([0, 0, 1], [0, 1, 1])
                assert len(arrays["references"]) == 2


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("carries", [True, False])
def test_drawings_change_the_frame_and_have_the_right_size(style: str, carries: bool) -> None:
    options = {"points": POINTS, "boxes": [[5, 5, 20, 20]], "mask": np.eye(48, 60, dtype=np.uint8)}
    (result,) = stream(1, **(options if carries else {}))
    before = result.image.copy()
    drawn = draw_frame(result, style)
    assert drawn.shape == (48, 60 if style != "side" else 128, 3) and drawn.dtype == np.uint8
    assert (drawn[:, -60:] != before).any()
    assert (result.image == before).all()  # nothing is drawn into the caller's frame


@pytest.mark.parametrize("style", STYLES)
def test_drawing_frame_after_frame_is_drawing_each(style: str) -> None:
    options = {"points": POINTS, "boxes": [[5, 5, 20, 20]], "mask": np.eye(48, 60, dtype=np.uint8)}
    first, second = stream(2, **options)
    (other_reference,) = stream(1, **(options | {"points": POINTS[::-1]}))
    assert first.carried is not None and second.carried is not None and second.carried.points is not None
    unmasked = dataclasses.replace(first.carried, mask=None)
    taller = dataclasses.replace(first, image=np.zeros((96, 60, 3), np.uint8), carried=unmasked)
    second.carried.points.visible[0] = ~second.carried.points.visible[0]
    drawer = FrameDrawer(style)
    for result in (first, first, second, first, other_reference, first, taller, first):
        assert (drawer.draw(result) == draw_frame(result, style)).all()
    (without,) = stream(1)
    assert (drawer.draw(without) == draw_frame(without, style)).all()


def test_a_lost_point_is_not_drawn_in_the_frame() -> None:
    (result,) = stream(1, points=[[10.0, 20.0]])
    assert result.carried is not None and result.carried.points is not None
    seen = draw_frame(result, "dots")
    result.carried.points.visible[:] = False
    lost = draw_frame(result, "dots")
    assert (seen != result.image).any() and (lost == result.image).all()
    assert (draw_frame(result, "side")[:, :60] != result.reference.image).any()  # a ring


def test_a_video_of_a_live_source_lasts_as_long_as_the_recording(tmp_path: Path) -> None:
    results = list(stream(9))
    for in_time, wanted in ((True, 9), (False, 3)):  # every fourth frame, the others dropped
        with Outputs([tmp_path / "a.avi"], rate=25.0, in_time=in_time) as outputs:
            for result in results[::4]:
                outputs.write(OutputFrame(result, draw_frame(result)))
        assert frames_in(tmp_path / "a.avi") == wanted


# Failures --------------------------------------------------------------------------------------


def test_an_unknown_suffix_opens_nothing(tmp_path: Path) -> None:
    for name, message in (
        ("x.docx", "ends in .mp4"),
        ("x.png", "%06d"),
        ("x-%d.xyz", "a file for each frame"),
    ):
        with pytest.raises(UsageError, match=message):
            Outputs([tmp_path / "a.jsonl", tmp_path / name])
    assert not list(tmp_path.iterdir())


def test_an_unknown_codec_leaves_no_files(tmp_path: Path) -> None:
    outputs = Outputs([tmp_path / "a.jsonl", tmp_path / "a.mp4"], codec="XXXX")
    with pytest.raises(VideoError, match="codec XXXX"):
        write_stream(stream(), outputs)
    assert not list(tmp_path.iterdir()) and not stage_threads()


def test_a_source_that_fails_leaves_complete_files_of_the_frames_before(tmp_path: Path) -> None:
    def three() -> object:
        yield from greys(3)
        raise VideoError("the cable is out")

    broken = matcher_of(IdentityBackend()).stream(three(), grey(0))  # type: ignore[arg-type]
    outputs = Outputs([tmp_path / name for name in ("a.mp4", "a.jsonl", "a.npz")])
    with pytest.raises(VideoError, match="the cable is out"):
        write_stream(broken, outputs)
    assert frames_in(tmp_path / "a.mp4") == len((tmp_path / "a.jsonl").read_text().splitlines()) == 3
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(arrays["frame"]) == 3
    assert not stage_threads()


def test_an_almost_full_disk_leaves_complete_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([10**9] * 8)  # called once for each frame: there is one folder
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free, 1000)))
    outputs = Outputs([tmp_path / name for name in ("a.mp4", "a.csv", "a.npz")])
    with pytest.raises(DccError, match="almost full"):
        write_stream(stream(20, points=POINTS), outputs)
    assert frames_in(tmp_path / "a.mp4") == 8
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 2 * 8
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(arrays["frame"]) == 8


QUOTA = """
import resource, signal, sys
from pathlib import Path
from dccnet.runtime.errors import DccError
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.commands.video import write_stream
from tests.helpers.streams import stream
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    write_stream(stream(100, points=[[1.0, 2.0]]), Outputs([Path(sys.argv[1])]))
except DccError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_write_that_fails_leaves_complete_lines(tmp_path: Path, name: str) -> None:
    """A real failure: the kernel refuses to let the file grow."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (-1, resource.RLIM_INFINITY)
    run = subprocess.run(
        [sys.executable, "-c", QUOTA, tmp_path / name], capture_output=True, text=True, timeout=120
    )
    assert "File too large" in run.stdout and run.stderr.strip() == "", (
        run.stderr
    )  # rich < 15 ends the line
    lines = (tmp_path / name).read_text().splitlines(keepends=True)
    assert len(lines) > 5 and all(line.endswith("\n") for line in lines)
    if name == "a.jsonl":
        assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))


def test_a_video_with_missing_frames_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        """Behaves as FFmpeg on a full disk: no error, and an empty file."""

        def __init__(self, path: str, *rest: object) -> None:
            self.path = path

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def write(self, frame: object) -> None: ...

        def release(self) -> None:
            Path(self.path).touch()

    monkeypatch.setattr(cv2, "VideoWriter", Forgetful)
    Forgetful.fourcc = staticmethod(lambda *letters: 0)  # type: ignore[attr-defined]
    with pytest.raises(DccError, match=r"0 of 5 frames are in a\.mp4"):
        write_stream(stream(), Outputs([tmp_path / "a.mp4"], codec="mp4v"))


def test_an_output_replaces_an_older_file_only_when_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("older\n")
    with Outputs([tmp_path / "a.jsonl"]) as outputs:
        (result,) = stream(1)
        assert (tmp_path / "a.jsonl").read_text() == "older\n"
        outputs.write(OutputFrame(result, None))
    assert json.loads((tmp_path / "a.jsonl").read_text())["frame"] == 0


def test_two_references_of_one_file_name_are_two_pictures_in_h5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    references = [Reference(grey(0), "train/a.png"), Reference(grey(200), "val/a.png")]
    frames = matcher_of(IdentityBackend()).stream([grey(0), grey(200)], references)
    write_stream(frames, Outputs([tmp_path / "a.h5"]))
    with h5py.File(tmp_path / "a.h5") as matches, h5py.File(tmp_path / "a-features.h5") as features:
        assert set(matches) == {"a.png", "val-a.png"}
        assert {"a.png", "val-a.png"} < set(features)
    with pytest.raises(UsageError, match=r"two references are called train/a\.png"):
        matcher_of(IdentityBackend()).stream([grey(0)], [references[0], references[0]])
