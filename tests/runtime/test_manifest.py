"""What a manifest must contain, and how errors name a wrong field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dccnet.runtime.bundle import MANIFEST, Bundle, read_manifest, write_manifest
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import BundleError, EngineError
from dccnet.runtime.manifest import (
    Agreement,
    Calibration,
    Conv4dChoice,
    EngineRecord,
    Graph,
    Islands,
    Manifest,
    RangeReport,
    TensorRange,
    TensorSpec,
    Verification,
    manifest_digest,
)
from dccnet.runtime.models.card import CARD, read_card
from dccnet.runtime.tensorrt.plan import read_sidecar

FRAMES = TensorSpec("frame", "uint8", ("batch", 32, 32, 3))
LOCAL = TensorSpec("local", "float32", ("batch", 8, 2, 2))
GRAPH = Graph("encoder.onnx", "0" * 64, 17, "float32", {"Conv": {"float32": 3}}, (FRAMES,), (LOCAL,))
ENGINE = EngineRecord(
    graph="encoder",
    file="encoder.tensorrt.engine",
    sha256="1" * 64,
    bytes=1000,
    onnx_sha256="0" * 64,
    library="tensorrt",
    version="11.4.0",
    targets=("sm86",),
    batch=(1, 1, 8),
    precision="float16",
    tf32=False,
    layers={"convolution": {"float16": 3}},
    activation_bytes=4096,
    scratch_bytes=None,
    weight_bytes=100,
    build_seconds=1.5,
    inputs=(FRAMES,),
    outputs=(LOCAL,),
)
RANGES = RangeReport(20.0, 2.0, 7, (TensorRange("encoder", "x", "Conv", 3000.0, 21.8),))
AGREEMENT = Agreement(3, 0.01, 0.2, 60.0, 61.0)
SOURCE = {"encoder": "3" * 64}
EVERYTHING = Manifest(
    model={"preset": "tiny", "channels": [8, 8]},
    image_size=(32, 32),
    grid=(2, 2),
    normalisation={"mean": [0.5], "std": [0.2]},
    heatmaps=True,
    conv4d=Conv4dChoice("stack", {"stack": 0.5, "spectral": 1.0}, "ONNX Runtime"),
    precision="float16+int8",
    graphs={"encoder": GRAPH, "matcher": dataclasses.replace(GRAPH, file="matcher.onnx")},
    tools={"torch": "2.9"},
    engines=(ENGINE,),
    verification=Verification(True, 3, 0.01, 0.9, 1.0, 0.99, 12, 1e-4, 1e-3, ("a.jpg", "b.jpg"), RANGES),
    calibration=Calibration("mse", "cpu", 5, "table.json", "2" * 64, SOURCE, ("conv",), AGREEMENT),
    islands=Islands(("backbone",), ("correlation",), 5, SOURCE, RANGES, AGREEMENT),
)


def written(folder: Path, change: Callable[[dict[str, Any]], object] = lambda values: None) -> Path:
    """A folder with a manifest whose values ``change`` altered; its digest is right."""
    write_manifest(folder, EVERYTHING)
    values = json.loads((folder / MANIFEST).read_text())
    change(values)
    values["digest"] = manifest_digest(values)
    (folder / MANIFEST).write_text(json.dumps(values))
    return folder


def test_every_field_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_manifest(written(tmp_path)) == EVERYTHING


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["graphs"]["encoder"].update(opset="17"), "graphs.encoder.opset must be int, got str"),
        (lambda m: m["graphs"]["matcher"].pop("opset"), "graphs.matcher.opset is missing"),
        (lambda m: m["graphs"].pop("matcher"), "graphs.matcher is missing"),
        (lambda m: m["graphs"]["encoder"].update(file="../x"), r"graphs.encoder: file '../x' lies outside"),
        (lambda m: m["engines"][0].update(file="/x"), r"engines\[0\]: file '/x' lies outside"),
        (lambda m: m["engines"][0].update(batch=[1, 2]), r"engines\[0\].batch must have 3 items, got 2"),
        (lambda m: m["verification"].update(passed="yes"), "verification.passed must be bool, got str"),
        (lambda m: m["islands"]["agreement"].update(pairs=None), "islands.agreement.pairs must be int"),
        (lambda m: m.update(grid=[2, 2.5]), r"grid\[1\] must be int, got float"),
        (lambda m: m.update(unheard=1), "unheard is unknown"),
        (lambda m: m.pop("schema"), "it does not say its schema"),
        (lambda m: m.update(schema="3"), "it does not say its schema"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(BundleError, match=rf"manifest.json is damaged or was edited \({message}"):
        Bundle.open(written(tmp_path, change))


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="a file that cannot be read is needed")
def test_a_file_that_cannot_be_read_is_said_to_be_damaged(tmp_path: Path) -> None:
    """The memory at address 0 is read as from a defective disk: also where the user may read everything."""
    for name in (MANIFEST, CARD, "a.engine.json"):
        (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(BundleError, match=r"manifest.json is damaged.*Input/output error"):
        read_manifest(tmp_path)
    with pytest.raises(BundleError, match=r"card.json is damaged.*Input/output error"):
        read_card(tmp_path)
    with pytest.raises(EngineError, match=r"a.engine.json is damaged.*Input/output error"):
        read_sidecar(tmp_path / "a.engine")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"schema": 3}'])
def test_json_that_is_not_a_manifest_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="damaged or was edited"):
        Bundle.open(tmp_path)


def test_an_engine_record_is_decoded_alone() -> None:
    values = json.loads(json.dumps(dataclasses.asdict(ENGINE)))
    assert decode(EngineRecord, values) == ENGINE
    with pytest.raises(ValueError, match="tf32 must be bool, got int"):
        decode(EngineRecord, values | {"tf32": 0})
