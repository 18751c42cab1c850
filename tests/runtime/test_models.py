"""The model that comes with dcc, models by name, and the commands that use them."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.card import CARD, read_card
from dccnet.runtime.models.names import BUILT_IN, DEFAULT, find_model, named_models, open_bundle
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.tiny_benchmarks import pf_pascal

NOTE = f"built-in model {DEFAULT}; another: --model BUNDLE"


@pytest.fixture
def named(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bundle in the user's folder of models, under this name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(bundle.path, tmp_path / "cache" / "dcc" / "models" / "mine")
    return "mine"


# The model -----------------------------------------------------------------------------------


def test_the_built_in_model_is_whole_verified_and_small() -> None:
    bundle = open_bundle()  # checks the hashes of its graphs
    manifest = bundle.manifest
    assert bundle.path == BUILT_IN / "small-1"
    assert manifest.verified and manifest.precision == "float32+int8"
    assert manifest.calibration is not None and manifest.calibration.target == "cpu"
    assert (manifest.image_size, manifest.grid) == ((352, 352), (22, 22))
    files = {file.name for file in bundle.path.iterdir()}
    assert files == {"manifest.json", "encoder.onnx", "matcher.onnx", "calibration.json", CARD}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:  # as in a wheel
        for file in bundle.path.iterdir():
            archive.write(file, file.name)
    assert len(packed.getvalue()) < 4e6


def test_it_does_not_tell_where_it_was_made() -> None:
    for file in BUILT_IN.glob("*/*.json"):
        assert "/tmp" not in file.read_text() and str(Path.home()) not in file.read_text()


def test_its_card_says_what_it_is() -> None:
    card = read_card(BUILT_IN / DEFAULT)
    assert card is not None and card.name == DEFAULT and card.licence == "Apache-2.0"
    assert card.sources and card.limits and card.command == "dcc models build small-1 -o DIR"
    assert {accuracy.data for accuracy in card.accuracy} >= {"PF-WILLOW"}
    for accuracy in card.accuracy:
        assert accuracy.protocol and all(0 < value < 100 for value in accuracy.pck.values())


def test_it_matches_a_picture_with_a_part_of_it(photos: list[Image]) -> None:
    matcher = Matcher.open()
    for photo in photos:
        height, width = photo.shape[:2]
        top, left = height // 8, width // 6
        part = np.ascontiguousarray(photo[top:, left:])
        x, y = np.meshgrid(np.linspace(0.3, 0.9, 8) * width, np.linspace(0.3, 0.9, 8) * height)
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        moved = matcher.match(photo, part).transfer(points, from_="a")
        errors = np.linalg.norm(moved - (points - [left, top]), axis=1)
        assert np.median(errors) < 0.05 * max(height, width)  # a cell


# Names -----------------------------------------------------------------------------------------


def test_a_model_in_the_users_folder_has_its_name(named: str, bundle: Bundle) -> None:
    assert list(named_models())[:1] == [DEFAULT] and named in named_models()
    assert open_bundle(named).manifest == bundle.manifest
    assert Matcher.open(named).manifest == bundle.manifest


def test_a_path_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model(DEFAULT) == BUILT_IN / DEFAULT
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT).mkdir()
    assert find_model(DEFAULT) == Path(DEFAULT)
    assert open_bundle().path == BUILT_IN / DEFAULT
    assert find_model("nothing") == Path("nothing")


def test_damaged_cards_are_bundle_errors(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    for text in ("{", '{"name": 1}', '{"name": "x"}'):
        (tmp_path / CARD).write_text(text)
        with pytest.raises(BundleError, match=r"card\.json is damaged"):
            read_card(tmp_path)


def test_models_are_listed(dcc: Cli, named: str, tmp_path: Path) -> None:
    damaged = tmp_path / "cache" / "dcc" / "models" / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{")
    result = dcc("models")
    assert result.returncode == 0, result.stderr
    (first,) = (line.split() for line in result.stdout.splitlines() if line.split()[0] == DEFAULT)
    assert first[2:] == ["float32+int8", "352x352", "22x22", "Apache-2.0", "dcc"]
    assert named in result.stdout and "damaged/manifest.json is damaged" in result.stderr
    rows = json.loads(dcc("models", "--json").stdout)
    assert [row["name"] for row in rows] == [DEFAULT, named]
    assert rows[0]["built_in"] and rows[0]["card"]["licence"] == "Apache-2.0"
    assert not rows[1]["built_in"] and rows[1]["card"] is None


# Commands --------------------------------------------------------------------------------------


def test_two_pictures_are_enough(dcc: Cli, pictures: list[Path], tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = dcc("match", *pictures[:2], cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[0] == NOTE and "wrote matches.jpg" in result.stderr
    assert "cells match mutually" in result.stdout
    drawing = read_image(tmp_path / "matches.jpg")
    assert drawing.shape[1] > max(read_image(path).shape[1] for path in pictures[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["matches.jpg"]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 6  # of CPU time: 3 seconds on two cores


@pytest.mark.parametrize("output", ["--json", "--points", "-o", "BUNDLE", "C"])
def test_a_drawing_is_written_only_if_two_pictures_are_all_that_is_named(
    output: str, dcc: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    a, b, c = pictures[:3]
    arguments = {
        "--json": (a, b, "--json"),
        "--points": (a, b, "--points", "10,10"),
        "-o": (a, b, "-o", "x.json"),
        "BUNDLE": (bundle.path, a, b),
        "C": (a, b, c),
    }[output]
    result = dcc("match", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "matches.jpg").exists()
    assert (NOTE in result.stderr) == (output != "BUNDLE")


def test_model_names_a_bundle(
    dcc: Cli, bundle: Bundle, named: str, pictures: list[Path], tmp_path: Path
) -> None:
    as_argument = dcc("match", bundle.path, *pictures[:2], "--json")
    for model in (named, str(bundle.path)):
        result = dcc("match", "--model", model, *pictures[:2], "--json", cwd=tmp_path)
        assert result.returncode == 0 and NOTE not in result.stderr, result.stderr
        assert result.stdout == as_argument.stdout
    assert json.loads(dcc("match", DEFAULT, *pictures[:2], "--json").stdout)["grid_a"] == [22, 22]
    drawn = dcc("match", "--model", named, *pictures[:2], cwd=tmp_path)
    assert "wrote matches.jpg" in drawn.stderr


def test_a_video_needs_no_bundle(dcc_here: Cli, pictures: list[Path], video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    arguments = ("--reference", pictures[0], "--video", video, "--frames", "2", "-o", out)
    result = dcc_here("match", *arguments)
    assert result.returncode == 0, result.stderr
    assert NOTE in result.stderr and out.is_file()
    assert len(out.with_suffix(".jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name two pictures, A and B"),
        (["A"], 2, "name a second picture, B, to match"),
        (["BUNDLE", "A"], 2, "is taken for the bundle: name a second picture, B"),
        (["absent.jpg", "A"], 1, "absent.jpg does not exist"),
        (["A", "absent.jpg"], 1, "absent.jpg does not exist"),
        (["matches.jpg", "A"], 2, "the output matches.jpg is also an input"),
        (["--model", "absent", "A", "B"], 1, "no model has this name (there is small-1"),
        (["absent", "A", "B"], 1, "no model has this name"),
        (["--model", "some/where", "A", "B"], 1, "some/where does not exist"),
        (["--model", "small-1", "BUNDLE", "A", "B"], 2, "contradicts --model small-1"),
        (["x.safetensors", "A", "B"], 1, "x.safetensors is a file, not a bundle"),
        (["--model", "x.safetensors", "A", "B"], 1, "x.safetensors is a file, not a bundle"),
    ],
)
def test_match_says_what_is_missing(
    arguments: list[str],
    code: int,
    message: str,
    dcc: Cli,
    bundle: Bundle,
    pictures: list[Path],
    tmp_path: Path,
) -> None:
    shutil.copy(pictures[0], tmp_path / "matches.jpg")
    (tmp_path / "x.safetensors").touch()
    names = {"A": str(pictures[0]), "B": str(pictures[1]), "BUNDLE": str(bundle.path)}
    one_sentence(dcc("match", *[names.get(a, a) for a in arguments], cwd=tmp_path), code, message)
    assert (tmp_path / "matches.jpg").read_bytes() == pictures[0].read_bytes()


def test_view_needs_no_bundle(
    dcc_here: Cli, bundle: Bundle, named: str, pictures: list[Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    result = dcc_here("view", *pictures[:2], "-o", page)
    assert result.returncode == 0, result.stderr
    assert NOTE in result.stderr and "22\\u00d722 cells" in page.read_text(encoding="utf-8")
    pages = []
    for choice in ((bundle.path,), ("--model", bundle.path), ("--model", named)):
        assert dcc_here("view", *choice, *pictures[:2], "-o", page).returncode == 0
        pages.append(page.read_text(encoding="utf-8"))
    assert len(set(pages)) == 1
    one_sentence(dcc_here("view", pictures[0], "-o", page), 2, "name a second picture, B")
    one_sentence(dcc_here("view", *pictures[:3], "-o", page), 2, "name two pictures")


def test_other_commands_take_the_name(dcc_here: Cli, tmp_path: Path) -> None:
    info = dcc_here("info", DEFAULT)
    assert info.returncode == 0 and "float32+int8" in info.stdout, info.stderr
    pf_pascal(tmp_path / "pf-pascal")
    scored = dcc_here(
        "eval", DEFAULT, "--benchmark", "pf-pascal", "--data", tmp_path / "pf-pascal", "--json"
    )
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["model"] == DEFAULT
    timed = dcc_here(
        "bench", DEFAULT, "--backend", "onnxruntime", "--rounds", "3", "--pairs", "1", "--json"
    )
    assert timed.returncode == 0, timed.stderr
    (row,) = json.loads(timed.stdout)["rows"]
    assert row["bundle"] == DEFAULT and row["problem"] is None and row["load_s"] > 0


def test_int8_for_cpus_runs_on_the_cpu_even_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from dccnet.runtime import selection

    monkeypatch.setattr(selection, "cuda_problem", lambda: None)
    monkeypatch.setattr(selection.TensorRTBackend, "open", lambda *arguments, **options: pytest.fail())
    assert "(CPU)" in Matcher.open().backend.description


def test_no_network_is_needed(dcc: Cli, pictures: list[Path], tmp_path: Path) -> None:
    """Any connection is an error."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\ndef refuse(*arguments): raise SystemExit('connects to the network')\n"
        "socket.socket.connect = refuse\nsocket.getaddrinfo = refuse\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)
    result = dcc("match", *pictures[:2], cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
