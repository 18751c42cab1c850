"""Annotated videos: reading, tracking, scores over time, and the command."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.evaluation.video.clips import Clip, digest, read_clips
from dccnet.evaluation.video.curves import curves
from dccnet.evaluation.video.evaluation import open_matcher
from dccnet.evaluation.video.scores import FrameScore, at_time, jaccard, overlap, pck, score, summarise
from dccnet.evaluation.video.trackers import (
    AT_REST,
    CHAINED,
    FOLLOWED,
    LUCAS_KANADE,
    MATCHES,
    NEAREST,
    SMOOTH,
    Prediction,
    Predictions,
    at_rest,
    from_frame_to_frame,
    from_reference,
    lucas_kanade,
)
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DataError, DccError, UsageError
from dccnet.runtime.selection import BackendChoice
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli
from tests.helpers.streams import IdentityBackend, matcher_of

HEIGHT, WIDTH, SIDE, STEP = 90, 120, 24, 2  # the square moves right by two pixels a frame
HEADER = "sequence,frame,joint,name,x,y"


def corners(number: int) -> list[tuple[str, int, int]]:
    x = 20 + STEP * number
    return [("nose", x + 4, 34), ("tail", x + SIDE - 5, 34), ("paw", x + 12, 48)]


def moving_square(root: Path, frames: int = 6, joints: tuple[int, ...] = (1, 3, 5)) -> Path:
    """A textured square on a plain background: all frames have masks, some have joints."""
    texture = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), (SIDE, SIDE))
    rows = [HEADER]
    for number in range(frames):
        x = 20 + STEP * number
        image, mask = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
        image[30 : 30 + SIDE, x : x + SIDE] = texture
        mask[30 : 30 + SIDE, x : x + SIDE] = 255
        tiny.write(root / "frames" / "square" / f"{number:05d}.png", image)
        tiny.write(root / "masks" / "square" / f"{number:05d}.png", mask)
        if number in joints:
            rows += [f"square,{number:05d}.png,0,{name},{px},{py}" for name, px, py in corners(number)]
    (root / "keypoints.csv").write_text("\n".join(rows) + "\n")
    return root


def test_the_reference_is_the_first_annotated_frame(tmp_path: Path) -> None:
    (clip,) = read_clips(moving_square(tmp_path))
    assert (clip.name, clip.first, len(clip.frames)) == ("square", 1, 6)
    assert clip.names == ("nose", "tail", "paw") and sorted(clip.joints) == [1, 3, 5]
    np.testing.assert_array_equal(clip.start_points(), [[26, 34], [41, 34], [34, 48]])
    (tmp_path / "keypoints.csv").unlink()
    (only_masks,) = read_clips(tmp_path)
    assert (only_masks.first, only_masks.start_points(), only_masks.names) == (0, None, ())


def test_lucas_kanade_follows_a_texture_and_at_rest_does_not(tmp_path: Path) -> None:
    (clip,) = read_clips(moving_square(tmp_path))
    scores = [s for tracker in (lucas_kanade, at_rest) for s in score(clip, tracker, 2.0, 0.2)]
    tracked, still = (summarise(scores)[name] for name in (LUCAS_KANADE, AT_REST))
    assert tracked.pck.overall == 100 and tracked.jaccard.overall is not None
    assert tracked.jaccard.overall > 85
    # The threshold is 0.2 · √(24 · 24) = 4.8 pixels; the frames with joints are 4 and 8 pixels further.
    assert still.pck.overall == 50
    shares = [100 * (SIDE - d) / (SIDE + d) for d in (2, 4, 6, 8)]
    assert still.jaccard.overall == pytest.approx(np.mean(shares))
    assert still.sequences == {"square": (50, pytest.approx(np.mean(shares)))}
    # At 2 frames/s, the frames are 0.5, 1, 1.5 and 2 s after the reference; joints are at 1 and 2 s.
    assert still.pck.at == (100, 0, None)
    assert still.jaccard.at == (
        pytest.approx(np.mean(shares[:3])),
        pytest.approx(np.mean(shares[2:])),
        None,
    )


def test_joints_that_a_frame_lacks_are_not_scored(tmp_path: Path) -> None:
    moving_square(tmp_path)
    path = tmp_path / "keypoints.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "00003.png,0,nose" not in line) + "\n")
    (clip,) = read_clips(tmp_path)

    def one_wrong(clip: Clip) -> Iterator[Predictions]:
        for number in range(2, 6):
            places = np.array([(x, y) for _, x, y in corners(number)], np.float64)
            places[1] += [0, 4.9]  # pixels; 0.2 · 24 = 4.8 are allowed
            yield {"m": Prediction(places, None)}

    scores = score(clip, one_wrong, 24, 0.2)
    assert [(s.frame, s.points, s.hits, s.jaccard) for s in scores] == [
        ("00002.png", 0, 0, None),
        ("00003.png", 2, 1, None),
        ("00004.png", 0, 0, None),
        ("00005.png", 3, 2, None),
    ]
    assert [s.hits for s in score(clip, one_wrong, 24, 0.21)] == [0, 2, 0, 3]


def test_a_network_that_matches_every_cell_with_itself_leaves_everything_at_rest(tmp_path: Path) -> None:
    (clip,) = read_clips(moving_square(tmp_path))
    matcher = matcher_of(IdentityBackend())
    found = [*from_reference(matcher)(clip), *from_frame_to_frame(matcher)(clip)]
    assert [set(f) for f in found] == [{SMOOTH, MATCHES, FOLLOWED, NEAREST}] * 4 + [{CHAINED}] * 4
    for method, prediction in (
        (m, p) for f in found for m, p in f.items() if m in (MATCHES, SMOOTH, CHAINED)
    ):
        np.testing.assert_allclose(prediction.points, clip.start_points(), atol=1e-6, err_msg=method)
        assert prediction.mask is not None
        assert jaccard(prediction.mask, cv2.imread(str(clip.masks[1]), 0)) > 0.99  # type: ignore[arg-type]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_j_is_symmetric_and_1_only_for_equal_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = ((rng.random((5, 6)) < rng.random()).astype(np.uint8) * 255 for _ in "ab")
    assert jaccard(a, b) == jaccard(b, a)
    assert 0 <= jaccard(a, b) <= 1
    assert (jaccard(a, b) == 1) == bool(((a > 0) == (b > 0)).all())
    assert jaccard(a, a) == 1


def test_every_sequence_counts_alike_however_many_frames_it_has() -> None:
    def at(sequence: str, time_s: float, hits: int, share: float | None) -> FrameScore:
        return FrameScore("m", sequence, "f", time_s, 4, hits, share)

    scores = [at("a", 1, 4, 0.5), at("a", 1.25, 4, 0.5), at("a", 2, 4, 0.5), at("b", 1, 0, 1.0)]
    scores.append(FrameScore("m", "b", "f", 1, 0, 0, None))  # neither joints nor mask
    assert summarise(scores)["m"].pck.overall == 50
    assert at_time(scores, pck, 1) == 50 and at_time(scores, pck, 2) == 100
    assert at_time(scores, overlap, 1) == 75 and at_time(scores, overlap, 9) is None


def test_curves_are_interrupted_where_nothing_is_annotated() -> None:
    scores = [FrameScore(m, "s", "f", t, 2, 1, None) for m in ("<a>", "b") for t in (0.5, 0.625, 2.0)]
    page = ET.fromstring(curves(scores, "joints, %"))
    assert "&lt;a&gt;" in curves(scores, "joints, %")
    namespace = "{http://www.w3.org/2000/svg}"
    lines = [p for p in page.iter(f"{namespace}path") if p.get("fill") == "none"]
    assert len(lines) == 2  # one panel: there are no masks
    assert [line.get("d", "").count("M") for line in lines] == [2, 2]
    assert all(f"{260 * 0.5:.1f}" in line.get("d", "") for line in lines)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["sequence,frame,x,y"], r"keypoints\.csv has no column name"),
        ([HEADER, "round,00001.png,0,nose,1,2"], "there is no folder frames/round"),
        ([HEADER, "square,00009.png,0,nose,1,2"], "there is no frame"),
        ([HEADER, "square,00001.png,0,nose,1,x"], "line 2: x,y contains values that are not numbers"),
        ([HEADER, "square,00001.png,0,nose"], "line 2: the number of columns"),
        ([HEADER, "square,00001.png,0,nose,1,5,2,5"], "line 2: the number of columns"),
        ([HEADER, *["square,00001.png,0,nose,1,2"] * 2], "line 3: nose is annotated twice"),
    ],
)
def test_malformed_keypoints(tmp_path: Path, rows: list[str], message: str) -> None:
    moving_square(tmp_path)
    (tmp_path / "keypoints.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=message):
        read_clips(tmp_path)


def test_missing_frames_and_masks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder frames/SEQUENCE"):
        read_clips(tmp_path)
    moving_square(tmp_path)
    masks = tmp_path / "masks" / "square"
    (masks / "00003.png").unlink()
    with pytest.raises(DataError, match=r"square/00003\.png has no mask"):
        read_clips(tmp_path)
    (tmp_path / "keypoints.csv").unlink()
    (clip,) = read_clips(tmp_path)
    before = digest(tmp_path, (clip,))
    assert [s.frame for s in score(clip, at_rest, 24, 0.2) if s.jaccard is None] == ["00003.png"]
    cv2.imwrite(str(masks / "00004.png"), np.zeros((10, 20), np.uint8))
    assert digest(tmp_path, (clip,)) != before
    with pytest.raises(DataError, match=r"00004\.png is \(10, 20\) \(height, width\), its frame"):
        score(clip, at_rest, 24, 0.2)
    for path in masks.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has no mask"):
        read_clips(tmp_path)


def test_models_that_cannot_run_on_video(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    for path, choice, message in (
        (checkpoint, BackendChoice(), "dcc export"),
        (bundle.path, BackendChoice("pytorch"), "remove --backend pytorch"),
        (tmp_path / "absent", BackendChoice(), "absent"),
    ):
        with pytest.raises(UsageError if path.exists() else DccError, match=message):
            open_matcher(path, choice, None, 1, lambda text: None)


def test_the_command_writes_scores_frames_and_curves(bundle: Bundle, dcc: Cli, tmp_path: Path) -> None:
    data = moving_square(tmp_path / "data")
    command = ["eval", bundle.path, "--benchmark", "video", "--data", data, "--fps", "2"]
    done = dcc(*command, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for text in (
        SMOOTH,
        MATCHES,
        FOLLOWED,
        NEAREST,
        CHAINED,
        LUCAS_KANADE,
        AT_REST,
        "PCK, all",
        "0.2·√(area",
    ):
        assert text in done.stdout
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["methods"][LUCAS_KANADE]["pck"]["overall"] == 100
    assert result["settings"] == {"alpha": 0.2, "rate": 2.0} and result["times_s"] == [1, 2, 3]
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7 * 4 and {row["method"] for row in rows} == set(result["methods"])
    ET.fromstring((tmp_path / "out" / "curves.svg").read_text())
    as_json = dcc(*command, "--json")
    assert json.loads(as_json.stdout) == result
    for wrong in (
        ["--intervals"],
        ["--alpha", "0.1,0.2"],
        ["--split", "val"],
        ["--zero-based"],
        ["--cache-gb", "4"],
        ["--reliability", tmp_path / "diagram.png"],
    ):
        refused = dcc(*command, *wrong)
        assert refused.returncode == 2 and "--benchmark video" in refused.stderr
        assert "Traceback" not in refused.stderr
