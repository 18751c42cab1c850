"""The OpenVINO backend: the same matches as ONNX Runtime's, in the precision that was asked for."""

from __future__ import annotations

import itertools
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime import Matcher, openvino
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import EngineError, UsageError
from dccnet.runtime.extras import install
from tests.helpers.commands import Cli


@pytest.fixture(scope="module")
def matcher(bundle: Bundle) -> Matcher:
    return Matcher.open(bundle, backend="openvino", threads=1)


def test_matches_are_those_of_onnx_runtime(bundle: Bundle, matcher: Matcher, photos: list[Image]) -> None:
    a, b = photos[:2]
    with Matcher.open(bundle, backend="onnxruntime", device="cpu", threads=1) as reference:
        wanted, found = reference.match(a, b), matcher.match(a, b)
    assert np.mean(found.index_a == wanted.index_a) > 0.99  # others are ties
    np.testing.assert_allclose(found.score_a, wanted.score_a, atol=1e-5)
    np.testing.assert_allclose(found.score_b, wanted.score_b, atol=1e-5)


def test_the_description_names_version_device_and_precision(matcher: Matcher) -> None:
    import openvino as library

    version = library.get_version().partition("-")[0]
    assert matcher.backend.description == f"OpenVINO {version} (CPU, float32)"


def test_threads_share_a_matcher(matcher: Matcher, photos: list[Image]) -> None:
    alone = [matcher.match(a, b) for a, b in itertools.pairwise(photos)]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(matcher.match, photos[:-1] * 3, photos[1:] * 3))
    for number, result in enumerate(again):
        np.testing.assert_array_equal(result.score_a, alone[number % len(alone)].score_a)


def test_bfloat16_is_used_only_when_it_is_asked_for(bundle: Bundle, photos: list[Image]) -> None:
    core = openvino._openvino().Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match=r"not in bfloat16|cannot load"):
            Matcher.open(bundle, backend="openvino", bf16=True)
        return
    with Matcher.open(bundle, backend="openvino", bf16=True) as matcher:
        assert matcher.backend.description.endswith("(CPU, bfloat16)")
        assert np.isfinite(matcher.match(photos[0], photos[1]).score_a).all()


def test_another_precision_than_asked_for_is_an_error(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "FLOAT32", "f16")  # which this CPU may or may not have
    monkeypatch.setitem(openvino._NAMES, "f16", "float16")
    real = openvino._openvino()
    make_core = real.Core

    class Core:
        """Compiles in float32, whatever was asked for, as a device without the precision does."""

        def __init__(self) -> None:
            self._core = make_core()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._core, name)

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            return self._core.compile_model(model, device, settings | {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(real, "Core", Core)
    with pytest.raises(EngineError, match=r"computes .* on CPU in f32, not in float16"):
        Matcher.open(bundle, backend="openvino")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "cuda"}, UsageError, "OpenVINO has no device 'cuda'"),
        ({"device": "gpu.7"}, EngineError, "OpenVINO finds no GPU.7 here"),
        ({"provider": "cpu"}, UsageError, "--provider is an option of ONNX Runtime"),
        ({"backend": "onnxruntime", "bf16": True}, UsageError, "--bf16 goes with --backend openvino"),
    ],
)
def test_choices_that_contradict_themselves(
    bundle: Bundle, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Matcher.open(bundle, **{"backend": "openvino"} | options)


def test_it_is_an_extra(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"needs OpenVINO: " + re.escape(install("openvino"))):
        Matcher.open(bundle, backend="openvino")


def test_a_damaged_graph_is_one_sentence(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"OpenVINO cannot load .*damaged\.onnx on CPU: [^\n]+$"):
        openvino.OpenVinoGraph(tmp_path / "damaged.onnx", "CPU", 1, openvino.FLOAT32)


def test_bench_has_a_row_for_it(bundle: Bundle, dcc: Cli) -> None:
    run = dcc(
        "bench", bundle.path, "--backend", "onnxruntime", "--backend", "openvino", "--rounds", "3",
        "--pairs", "2", "--threads", "1", "--json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    first, second = json.loads(run.stdout)["rows"]
    assert "ONNX Runtime" in first["backend"] and "OpenVINO" in second["backend"]
    assert second["agreement"]["changed_cells"] < 0.01
