"""``dcc build --conv4d``: the matcher's lowering chosen by its time on the GPU, on the emulation."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from dccnet.export.info import describe
from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.commands.build import build
from dccnet.runtime.errors import BundleError, DccError, UsageError
from dccnet.runtime.files import sha256
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.limits import files_of
from tests.helpers.emulation import Machine, emulated

MILLISECONDS = {"stack": 300.0, "spectral": 100.0, "spectral3": 200.0}
"""Of 50 runs."""


@pytest.fixture
def carrying(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle that carries its matcher three times, in files of other content."""
    shutil.copytree(bundle.path, tmp_path / "b")
    manifest = bundle.manifest
    graph, others = manifest.graphs["matcher"], {}
    model = onnx.load(tmp_path / "b" / graph.file)
    for name in ("spectral", "spectral3"):
        model.doc_string = name
        file = f"matcher.{name}.onnx"
        onnx.save(model, tmp_path / "b" / file)
        others[name] = dataclasses.replace(graph, file=file, sha256=sha256(tmp_path / "b" / file))
    write_manifest(tmp_path / "b", dataclasses.replace(manifest, lowerings=others))
    return Bundle.open(tmp_path / "b")


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    with emulated(tmp_path / "cache", request.param) as found:
        left = iter(MILLISECONDS.values())  # in the order in which they are timed
        monkeypatch.setattr(found.cuda, "cudaEventElapsedTime", lambda start, end: next(left))
        yield found


def run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(build, [str(argument) for argument in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout, result.stderr


def test_auto_keeps_the_fastest_and_records_the_table(
    machine: Machine, carrying: Bundle, photos: list[Image]
) -> None:
    printed, said = run(carrying.path, "--conv4d", "auto", "--json")
    times = "spectral 2.00 ms, spectral3 4.00 ms, stack 6.00 ms"
    assert f"4D convolutions: spectral; one run of the matcher on Emulated GPU: {times}" in said
    encoder, matcher = json.loads(printed)
    assert encoder["times"] is None
    assert matcher["times"]["gpu"]["name"] == "Emulated GPU"
    assert list(matcher["times"]["milliseconds"].items()) == [
        ("spectral", 2.0),
        ("spectral3", 4.0),
        ("stack", 6.0),
    ]
    assert matcher["onnx_sha256"] == carrying.manifest.lowerings["spectral"].sha256
    assert matcher["comparison"]["passed"] and matcher["comparison"] == encoder["comparison"]
    assert not machine.cuda.memory and not machine.cuda.graphs and set(machine.cuda.streams) == {0, 1, 2}
    notes: list[str] = []
    with Matcher.open(carrying.path, backend="tensorrt", on_note=notes.append) as opened:
        assert not [note for note in notes if "passed over" in note or "building" in note]
        true = Matcher.open(carrying.path, device="cpu").match(photos[0], photos[1])
        np.testing.assert_array_equal(opened.match(photos[0], photos[1]).index_a, true.index_a)
    (row,) = [row for row in describe(carrying.path).tables["engines"] if "matcher" in row["engine"]]
    assert row["chosen by"] == "spectral 2.00 ms, spectral3 4.00 ms, stack 6.00 ms on Emulated GPU"


def test_lowerings_that_disagree_are_left_out(machine: Machine, carrying: Bundle) -> None:
    """The fastest one is wrong, and another cannot be compared with the graph at all."""
    runs = 0

    def distort(name: str, value: Array) -> Array:
        nonlocal runs
        runs += name == "score_b"
        return value * np.nan if name == "score_b" and runs == 2 else value  # the second comparison

    machine.tensorrt.distort = distort
    _, said = run(carrying.path, "--conv4d", "auto")
    assert "spectral is left out: on Emulated GPU" in said and "matcher: score_b" in said
    (record,) = [r for r in Bundle.open(carrying.path).manifest.engines if r.graph == "matcher"]
    assert record.times is not None and list(record.times.milliseconds) == ["spectral3", "stack"]


def test_a_named_lowering_is_built(machine: Machine, carrying: Bundle, tmp_path: Path) -> None:
    run(carrying.path, "--conv4d", "spectral3")
    (record,) = [r for r in Bundle.open(carrying.path).manifest.engines if r.graph == "matcher"]
    assert record.onnx_sha256 == carrying.manifest.lowerings["spectral3"].sha256 and record.times is None
    with pytest.raises(
        UsageError, match="carries no matcher with the lowering paired, only stack, spectral"
    ):
        run(carrying.path, "--conv4d", "paired")


def test_auto_says_what_it_needs(bundle: Bundle, carrying: Bundle, tmp_path: Path) -> None:
    with (
        emulated(tmp_path / "cache"),
        pytest.raises(UsageError, match="carries one lowering of the matcher"),
    ):
        run(bundle.path, "--conv4d", "auto", "-o", tmp_path / "plans")
    with pytest.raises(UsageError, match="there is none here: name a lowering"):
        run(carrying.path, "--conv4d", "auto", "--target", "sm86")  # TensorRT-RTX itself, without a GPU


def test_lowerings_belong_to_the_bundle(carrying: Bundle) -> None:
    assert {"matcher.spectral.onnx", "matcher.spectral3.onnx"} <= set(files_of(carrying.path))
    files = {row["file"] for row in describe(carrying.path).tables["files"]}
    assert "matcher.spectral.onnx" in files
    (carrying.path / "matcher.spectral.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"matcher\.spectral\.onnx is not the file that was exported"):
        Bundle.open(carrying.path)
    (carrying.path / "matcher.spectral.onnx").unlink()
    with pytest.raises(DccError, match="is incomplete"):
        Bundle.open(carrying.path)
