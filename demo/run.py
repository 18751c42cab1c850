"""The whole workflow on photographs from scikit-image: train, export, compile, match, measure."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.demo.animals import draw_animals
from dccnet.demo.half import HalfReport, export_half_precision
from dccnet.demo.photographs import (
    HELD_OUT,
    TRAINING,
    VIDEO_RATE,
    KnownPair,
    camera_path,
    stereo_pair,
    write_photographs,
)
from dccnet.evaluation.pairs import Pair, file_picture
from dccnet.evaluation.pck import mean_pck
from dccnet.evaluation.photographs import photograph
from dccnet.export.build import AUTO, AUTO_STEPS, STEPS, export_bundle
from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import PRESETS
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.commands.video import write_stream
from dccnet.runtime.console import note, steps
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.matches import draw_points
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import write_text
from dccnet.runtime.geometry import apply_homography, cell_pixels
from dccnet.runtime.images import find_images, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.video.writer import video_writer
from dccnet.training.features import FeatureCache
from dccnet.training.run import start_run
from dccnet.training.synthetic import synthetic_pairs
from dccnet.weights.checkpoint import load_checkpoint

EPOCHS = 3
PAIRS = 320
HELD_OUT_PAIRS = 60
HELD_OUT_SEED = 1000
ALPHA = 0.05
CACHE_BYTES = 10**9
VIDEO_THREADS = 1
"""For each engine: both, drawing and writing run side by side anyway (docs/video.md)."""
VIDEO_LATTICE = (6, 8)  # rows and columns of points that are followed through the video


@dataclasses.dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo measured; errors are in pixels of the pictures."""

    training_seconds: float
    pck_nearest_neighbour: float
    pck_before: float
    pck_after: float
    identical_cells: float
    half: HalfReport
    stereo_mean_error: float
    stereo_mean_error_half: float
    stereo_mean_error_nearest_neighbour: float
    stereo_size: tuple[int, int]
    video_mean_error: float
    video_mean_error_unmoved: float
    video_frames: int
    video_frames_per_s: float
    total_seconds: float


def run_demo(folder: Path, seed: int) -> DemoReport:
    """Write everything to ``folder`` and return the measurements."""
    started = time.perf_counter()
    note("1/6  photographs from scikit-image")
    write_photographs(folder / "photographs", TRAINING)
    write_photographs(folder / "held-out", HELD_OUT)
    pair = stereo_pair()
    stereo_files = folder / "stereo-a.png", folder / "stereo-b.png"
    for file, image in zip(stereo_files, (pair.image_a, pair.image_b), strict=True):
        write_image(file, image)
    stereo = Pair(file_picture(stereo_files[0]), file_picture(stereo_files[1]), "motorcycle")
    config = PRESETS["tiny"]
    held_out = synthetic_pairs(
        find_images(folder / "held-out"), HELD_OUT_PAIRS, HELD_OUT_SEED, config.image_size
    )

    note("2/6  training 'tiny' on warped views of them")
    training_started = time.perf_counter()
    run, _ = start_run(
        str(folder / "run"),
        config,
        {
            "synthetic": str(folder / "photographs"),
            "epochs": EPOCHS,
            "pairs": PAIRS,
            "seed": seed,
        },
    )
    training_seconds = time.perf_counter() - training_started
    trained = load_checkpoint(run.best)
    before, after = (FeatureCache(m, CACHE_BYTES) for m in (load_checkpoint(run.start), trained))

    note("3/6  exporting to ONNX")
    with steps("exporting", STEPS + AUTO_STEPS) as step:
        bundle = export_bundle(trained, folder / "bundle", find_images(PICTURES), conv4d=AUTO, on_step=step)
    verification = bundle.manifest.verification
    assert verification is not None
    if not verification.passed:
        raise NotVerifiedError(f"the bundle in {folder} does not agree with PyTorch; please report this")

    note("4/6  in half precision, with engines for NVIDIA GPUs")
    half_bundle, half = export_half_precision(
        trained, bundle.manifest.conv4d.lowering, folder / "bundle-half"
    )
    half_matched = Matcher.open(half_bundle, device="cpu").match(pair.image_a, pair.image_b)

    note("5/6  matching a stereo pair whose disparity is known")
    matcher = Matcher.open(bundle)
    matched = matcher.match(pair.image_a, pair.image_b)
    _draw_stereo(matched, pair, folder)
    with Matcher.open() as built_in:
        draw_animals(built_in, folder)

    note("6/6  following points through a video whose camera motion is known")
    with Matcher.open(bundle, threads=VIDEO_THREADS) as following:
        frames, video_error, unmoved_error, rate = _video(following, folder)
    report = DemoReport(
        training_seconds=training_seconds,
        pck_nearest_neighbour=_pck(after.nearest_neighbour, held_out),
        pck_before=_pck(before.match, held_out),
        pck_after=_pck(after.match, held_out),
        identical_cells=verification.identical_cells,
        half=half,
        stereo_mean_error=_mean_error(matched, pair),
        stereo_mean_error_half=_mean_error(half_matched, pair),
        stereo_mean_error_nearest_neighbour=_mean_error(after.nearest_neighbour(stereo), pair),
        stereo_size=matched.size_a,
        video_mean_error=video_error,
        video_mean_error_unmoved=unmoved_error,
        video_frames=frames,
        video_frames_per_s=rate,
        total_seconds=time.perf_counter() - started,
    )
    write_text(folder / "summary.json", json.dumps(dataclasses.asdict(report), indent=2) + "\n")
    return report


def _pck(match: Callable[[Pair], Correspondences], pairs: list[Pair]) -> float:
    return mean_pck(pairs, match, ALPHA, "bbox")


def _mean_error(result: Correspondences, pair: KnownPair) -> float:
    moved = result.transfer(pair.points_a, from_="a")
    return float(np.linalg.norm(moved - pair.points_b, axis=1).mean())


def _draw_stereo(result: Correspondences, pair: KnownPair, folder: Path) -> None:
    write_image(folder / "matches.png", result.draw(pair.image_a, pair.image_b))
    some = np.linspace(0, len(pair.points_a) - 1, 12).astype(int)
    points = pair.points_a[some]
    shown = result.carry(points, from_="a")
    write_image(folder / "points.png", draw_points(pair.image_a, pair.image_b, shown))
    write_image(folder / "warped.png", result.warp(pair.image_a, onto="b"))
    result.save(folder / "matches.json")


def _video(matcher: Matcher, folder: Path) -> tuple[int, float, float, float]:
    """Number of frames, mean error, mean error if points never moved (both in pixels), frames/s."""
    source, output = folder / "video.mp4", folder / "video-matched.mp4"
    homographies: list[Floats] = []
    with video_writer(source, VIDEO_RATE) as writer:
        for frame, homography in camera_path(photograph(HELD_OUT[-1])):
            if not homographies:
                write_image(folder / "video-reference.png", frame)
            homographies.append(homography)
            writer.write(frame)
    size = frame.shape[:2]
    points = _inner_lattice((size[0], size[1]))
    started = time.perf_counter()
    stream = matcher.stream(source, folder / "video-reference.png", points=points)
    write_stream(stream, Outputs([output, output.with_suffix(".jsonl")], rate=VIDEO_RATE))
    seconds = time.perf_counter() - started
    lines = output.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    errors, unmoved = [], []
    to_photograph = np.linalg.inv(homographies[0])
    for record, homography in zip(records, homographies, strict=True):
        truth = apply_homography(homography @ to_photograph, points)
        inside = ((truth >= 0) & (truth <= [size[1] - 1, size[0] - 1])).all(axis=1)
        errors.append(np.linalg.norm(np.array(record["points_b"]) - truth, axis=1)[inside])
        unmoved.append(np.linalg.norm(points - truth, axis=1)[inside])
    mean = [float(np.concatenate(values).mean()) for values in (errors, unmoved)]
    return len(records), mean[0], mean[1], len(records) / seconds


def _inner_lattice(size: tuple[int, int]) -> Points:
    """A lattice in the inner 80 % of a picture of ``size`` (height, width)."""
    lattice = cell_pixels(VIDEO_LATTICE, size).reshape(-1, 2)
    centre = np.array([size[1] - 1, size[0] - 1]) / 2
    return centre + 0.8 * (lattice - centre)
