"""What takes minutes: `make test-slow`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dccnet.runtime.bundle import Bundle
from tests.helpers.commands import Cli

pytestmark = pytest.mark.slow


def test_the_papers_network_exports_and_agrees_with_pytorch(dcc: Cli, tmp_path: Path) -> None:
    model, bundle = tmp_path / "dccnet.safetensors", tmp_path / "bundle"
    assert dcc("init", "--preset", "dccnet", "-o", model).returncode == 0
    exported = dcc("export", model, "--conv4d", "stack", "-o", bundle)
    assert exported.returncode == 0, exported.stderr
    report = Bundle.open(bundle).manifest.verification
    assert report is not None
    assert report.identical_cells >= 0.999 and report.largest_score_difference <= 1e-4
    assert report.distinct_cells > 20


def test_the_demo_learns(dcc: Cli, tmp_path: Path) -> None:
    result = dcc("demo", "-o", tmp_path / "demo", "--json", timeout=1200)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["pck_after"] > report["pck_before"] + 20
    assert report["identical_cells"] >= 0.999
    assert report["half"]["identical_cells"] >= 0.99 and report["half"]["headroom"] >= 4
    assert [engine["precision"] for engine in report["half"]["engines"]] == ["float16", "float16"]
    assert abs(report["stereo_mean_error_half"] - report["stereo_mean_error"]) < 1
    assert report["video_mean_error"] < report["video_mean_error_unmoved"]
    for name in (
        "animals.jpg",
        "animals-points.jpg",
        "morph.mp4",
        "matches.png",
        "points.png",
        "warped.png",
        "video-matched.mp4",
    ):
        assert (tmp_path / "demo" / name).stat().st_size > 10_000


def test_the_papers_matcher_compiles_for_turing_in_half_precision(dcc: Cli, tmp_path: Path) -> None:
    """Which has no float32 matrix products, not even for what depends on weights alone."""
    model, bundle = tmp_path / "dccnet.safetensors", tmp_path / "bundle"
    assert dcc("init", "--preset", "dccnet", "-o", model).returncode == 0
    arguments = ("--fp16", "--conv4d", "spectral", "--format", "engine", "--target", "sm75")
    exported = dcc("export", model, *arguments, "-o", bundle, timeout=900)
    assert exported.returncode == 0, exported.stderr
    manifest = Bundle.open(bundle).manifest
    assert [record.precision for record in manifest.engines] == ["float16", "float16"]
    assert manifest.verification is not None and manifest.verification.ranges is not None
    assert manifest.verification.ranges.headroom >= 4
