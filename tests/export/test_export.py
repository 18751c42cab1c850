"""Exported graphs, run by the real ONNX Runtime."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from dccnet.export.build import export_bundle
from dccnet.export.bundles.readback import describe_onnx
from dccnet.export.commands import export_command
from dccnet.export.graphs import MatcherGraph
from dccnet.export.onnx_file import OPSET
from dccnet.export.verify import _AgreementCounter, verify
from dccnet.inference import TorchMatcher
from dccnet.network.conv4d import LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.network.score_windows import WINDOW
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import MANIFEST, Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import BundleError, EngineError, ImageError, NotVerifiedError, UsageError
from dccnet.runtime.manifest import Conv4dChoice, manifest_digest
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.score_windows import cut_windows
from dccnet.weights.checkpoint import save_checkpoint
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.emulation import emulated
from tests.helpers.networks import ABLATIONS, ONE_LAYER, PLAIN, SMALL, build, decisive


def same(a: Correspondences, b: Correspondences) -> None:
    for name in ("index_a", "index_b"):
        assert np.mean(getattr(a, name) == getattr(b, name)) >= 0.999
    for name in ("score_a", "score_b"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-4)
    for side in "ab":
        found, expected = (getattr(result, f"window_{side}") for result in (a, b))
        agree = getattr(a, f"index_{side}") == getattr(b, f"index_{side}")
        assert found.shape == (*agree.shape, WINDOW**2)
        np.testing.assert_allclose(found[agree], expected[agree], atol=1e-4)


def test_bundle_agrees_with_pytorch_and_says_so(
    bundle: Bundle, small_model: DCCNet, photos: list[Image]
) -> None:
    report = bundle.manifest.verification
    assert report is not None and report.passed and report.pairs == 3
    assert report.identical_cells >= 0.999 and report.largest_score_difference <= 1e-4
    same(Matcher.open(bundle).match(*photos[:2]), TorchMatcher(small_model).match(*photos[:2]))


@pytest.mark.parametrize("name", [name for name in ABLATIONS if name != "dccnet"])
def test_every_ablation_exports(
    name: str, tmp_path: Path, pictures: list[Path], photos: list[Image]
) -> None:
    model = build(ONE_LAYER.replace(**ABLATIONS[name]))
    bundle = export_bundle(model, tmp_path / name, pictures[:2], conv4d="stack")
    assert bundle.manifest.verified
    same(Matcher.open(bundle.path).match(*photos[:2]), TorchMatcher(model).match(*photos[:2]))


@pytest.mark.parametrize(
    ("conv4d", "fusion"), list(zip(LOWERINGS, itertools.cycle(["product", "support"]), strict=False))
)
def test_a_product_of_branches_exports_in_every_lowering(
    conv4d: str, fusion: str, tmp_path: Path, pictures: list[Path], photos: list[Image]
) -> None:
    model = build(ONE_LAYER.replace(fusion=fusion, embedding=False))
    bundle = export_bundle(model, tmp_path / conv4d, pictures[:2], conv4d=conv4d, maps=True)
    assert bundle.manifest.verified
    found = Matcher.open(bundle.path).match(*photos[:2])
    same(found, TorchMatcher(model).match(*photos[:2]))
    assert found.maps is not None and (found.maps.attention_a is None) == (fusion == "product")
    assert (found.support is None) == (fusion == "product")
    if fusion == "support":
        assert found.support == pytest.approx(TorchMatcher(model).match(*photos[:2]).support, abs=1e-4)


def test_a_product_of_branches_exports_in_half_precision(tmp_path: Path, pictures: list[Path]) -> None:
    model = decisive(build(ONE_LAYER.replace(fusion="support", embedding=False)))
    assert export_bundle(model, tmp_path / "half", pictures[:2], half=True).manifest.verified


@pytest.mark.parametrize(("fusion", "half"), [("dynamic", False), ("dynamic", True), ("average", False)])
def test_fusion_of_maps_exports(
    fusion: str, half: bool, tmp_path: Path, pictures: list[Path], photos: list[Image]
) -> None:
    model = build(ONE_LAYER.replace(fusion=fusion, blend="maps"))
    bundle = export_bundle(model, tmp_path / "maps", pictures[:2], conv4d="spectral", half=half)
    assert bundle.manifest.verified
    if not half:
        same(Matcher.open(bundle.path).match(*photos[:2]), TorchMatcher(model).match(*photos[:2]))


@pytest.mark.parametrize("lowering", ["spectral", "spectral3"])
def test_every_lowering_exports_and_runs_any_batch(
    lowering: str, bundle: Bundle, bundles: Bundles, photos: list[Image]
) -> None:
    exported = bundles("float32", lowering)
    assert exported.manifest.verified and exported.manifest.conv4d == Conv4dChoice(lowering)
    a, b = photos[:2]
    same(Matcher.open(exported).match(a, b), Matcher.open(bundle).match(a, b))
    path = str(exported.graph_path("matcher"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pairs = [(a, b), (b, a), (a, a)]
    encoded = {id(image): Matcher.open(exported).encode(image).tensors for image in (a, b)}
    feed = {
        f"{name}_{side}": np.concatenate([encoded[id(pair[i])][name] for pair in pairs])
        for i, side in enumerate("ab")
        for name in encoded[id(a)]
    }
    outputs = session.run(None, feed)
    for i in range(len(pairs)):
        alone = session.run(None, {name: value[i : i + 1] for name, value in feed.items()})
        for one, of_three in zip(alone, outputs, strict=True):
            np.testing.assert_allclose(one[0], of_three[i], atol=1e-5)


def test_auto_keeps_the_fastest_lowering_and_what_it_measured(tmp_path: Path, pictures: list[Path]) -> None:
    bundle = export_bundle(decisive(build(PLAIN)), tmp_path / "auto", pictures[:2], conv4d="auto")
    choice = bundle.manifest.conv4d
    assert choice.seconds is not None and set(choice.seconds) == set(LOWERINGS)
    assert choice.lowering == min(choice.seconds, key=choice.seconds.__getitem__)
    assert "onnxruntime" in str(choice.engine)
    assert bundle.manifest.verified and Bundle.open(bundle.path).manifest == bundle.manifest
    assert {file.name for file in bundle.path.iterdir()} == {
        "manifest.json",
        "encoder.onnx",
        "matcher.onnx",
    }


def test_kernels_are_transformed_once_and_the_file_holds_them_untransformed(
    small_model: DCCNet, bundles: Bundles
) -> None:
    sizes, convolutions = {}, {}
    for name in ("stack", "spectral"):
        bundle = bundles("float32", name)
        sizes[name] = sum(file.stat().st_size for file in bundle.path.iterdir())
        model = onnx.load(bundle.graph_path("matcher"))
        convolutions[name] = [node for node in model.graph.node if node.op_type == "Conv"]
    # Of two networks' layers, over two branches and two directions: as many filters as layers.
    filters = {node.input[1] for node in convolutions["spectral"]}
    layers = 2 * len(small_model.config.consensus_channels)
    assert len(filters) <= layers + 1  # and the attention's
    assert sizes["spectral"] <= 1.1 * sizes["stack"]


def test_manifest_describes_what_the_files_hold(bundle: Bundle) -> None:
    for graph in bundle.manifest.graphs.values():
        session = onnxruntime.InferenceSession(
            str(bundle.path / graph.file), providers=["CPUExecutionProvider"]
        )
        for described, actual in (
            (graph.inputs, session.get_inputs()),
            (graph.outputs, session.get_outputs()),
        ):
            assert [(t.name, t.shape) for t in actual] == [(s.name, list(s.shape)) for s in described]
        assert graph.opset == OPSET and graph.precision == "float32"
    encoder = bundle.manifest.graphs["encoder"]
    assert encoder.inputs[0].dtype == "float32"
    assert encoder.inputs[0].shape == ("batch", *SMALL.image_size, 3)


def test_graphs_keep_the_promises_of_the_format(bundle: Bundle) -> None:
    for name in ("encoder", "matcher"):
        path = bundle.graph_path(name)
        model = onnx.load(str(path))
        onnx.checker.check_model(model, full_check=True)
        assert {n.domain for n in model.graph.node} <= {"", "ai.onnx"}
        weights = {i.name: i for i in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Conv" and node.input[1] in weights:
                assert len(weights[node.input[1]].dims) <= 5
        inferred = onnx.shape_inference.infer_shapes(model)
        assert all(len(v.type.tensor_type.shape.dim) <= 8 for v in inferred.graph.value_info)
        # Nothing of the machine that exported it.
        assert b"site-packages" not in path.read_bytes()
        assert str(Path.cwd()).encode() not in path.read_bytes()


def test_batch_is_dynamic_and_pictures_do_not_mix(bundle: Bundle, photos: list[Image]) -> None:
    encoder, matcher = (
        onnxruntime.InferenceSession(str(bundle.graph_path(name)), providers=["CPUExecutionProvider"])
        for name in ("encoder", "matcher")
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, *SMALL.image_size, 3)).astype(np.float32)
    names = [output.name for output in encoder.get_outputs()]
    together = dict(zip(names, encoder.run(None, {"frame": frames}), strict=True))
    for i in range(3):
        alone = encoder.run(None, {"frame": frames[i : i + 1]})
        for name, value in zip(names, alone, strict=True):
            np.testing.assert_allclose(together[name][i], value[0], atol=1e-5)
    inputs = {f"{n}_a": v for n, v in together.items()}
    inputs |= {f"{n}_b": v[::-1].copy() for n, v in together.items()}
    whole = matcher.run(["score_a"], inputs)[0]
    for i in range(3):
        part = matcher.run(["score_a"], {n: v[i : i + 1] for n, v in inputs.items()})[0]
        np.testing.assert_allclose(whole[i], part[0], atol=1e-6)


def test_heatmaps_are_the_scores_that_the_matches_come_from(bundle: Bundle, photos: list[Image]) -> None:
    result = Matcher.open(bundle).match(*photos[:2])
    h, w = bundle.manifest.grid
    assert result.heatmap_a is not None and result.heatmap_b is not None
    assert result.heatmap_a.shape == result.heatmap_b.shape == (h, w, h, w)
    for heatmap, index, score in (
        (result.heatmap_a, result.index_a, result.score_a),
        (result.heatmap_b, result.index_b, result.score_b),
    ):
        flat = heatmap.reshape(h, w, -1)
        np.testing.assert_array_equal(flat.argmax(-1), index)
        np.testing.assert_allclose(flat.max(-1), score)
        np.testing.assert_allclose(flat.sum(-1), 1, atol=1e-5)


def test_windows_are_cut_from_the_scores_and_verified(
    bundle: Bundle, small_model: DCCNet, photos: list[Image]
) -> None:
    result = Matcher.open(bundle).match(*photos[:2])
    for heatmap, index, window in (
        (result.heatmap_a, result.index_a, result.window_a),
        (result.heatmap_b, result.index_b, result.window_b),
    ):
        assert heatmap is not None
        np.testing.assert_array_equal(window, cut_windows(heatmap, index))
    true = TorchMatcher(small_model).match(*photos[:2], heatmaps=True)
    assert result.window_b is not None
    wrong = result.window_b.copy()
    wrong[2, 3, 12] += 0.5
    for window, index_b, difference in (
        (result.window_b, result.index_b, 0),
        (wrong, result.index_b, 0.5),
        (wrong, result.index_b + 1, 0),  # windows around other cells are not compared
    ):
        counter = _AgreementCounter(margin=0.0)
        counter.add(dataclasses.replace(result, window_b=window, index_b=index_b), true)
        assert counter.largest_score_difference == pytest.approx(difference, abs=1e-4)


def test_a_kept_reference_gives_the_same_matches(bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle)
    features = matcher.encode(photos[0])
    same(matcher.match(features, photos[1]), matcher.match(photos[0], photos[1]))
    assert matcher.match(features, photos[1]).size_a == photos[0].shape[:2]


def test_threads_share_a_matcher(bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle)
    expected = [matcher.match(photos[i], photos[(i + 1) % 3]) for i in range(3)]
    problems: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for _ in range(5):
                same(matcher.match(photos[i], photos[(i + 1) % 3]), expected[i])
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.full((20, 20, 3), np.nan, np.float32),
        np.zeros((0, 20, 3), np.uint8),
        7,
    ],
)
def test_arrays_that_are_no_pictures_are_refused(bundle: Bundle, image: object) -> None:
    with pytest.raises(ImageError, match="a picture must"):
        Matcher.open(bundle).encode(image)  # type: ignore[arg-type]


def test_a_graph_that_computes_something_else_is_not_verified(bundle: Bundle, pictures: list[Path]) -> None:
    other = build(SMALL, seed=5)
    report = verify(other, bundle, pictures[:2])
    assert not report.passed and report.identical_cells < 0.999


def test_agreement_of_a_dead_network_proves_nothing(tmp_path: Path, dcc_here: Cli) -> None:
    model = build(PLAIN)
    for layer in model.consensus.layers:
        layer.weight.data.fill_(0)
        layer.bias.data.fill_(-1)
    save_checkpoint(model, tmp_path / "dead.safetensors")
    result = dcc_here("export", tmp_path / "dead.safetensors", "--conv4d", "stack", "-o", tmp_path / "b")
    assert result.returncode == 3 and "every cell the same match" in result.stderr
    assert not Bundle.open(tmp_path / "b").manifest.verified


def test_a_missing_provider_is_an_error_not_a_fallback(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="CUDAExecutionProvider"):
        Matcher.open(bundle, provider="cuda")


def test_a_silent_fallback_is_noticed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(EngineError):
        Matcher.open(bundle, provider="cuda")


def test_existing_bundles_are_replaced_and_other_folders_are_not(
    tmp_path: Path, pictures: list[Path]
) -> None:
    model = build(PLAIN)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not a bundle"):
        export_bundle(model, tmp_path / "mine", pictures[:2])
    assert (tmp_path / "mine" / "thesis.tex").exists()
    for heatmaps in (True, False):
        bundle = export_bundle(model, tmp_path / "b", pictures[:2], conv4d="stack", heatmaps=heatmaps)
        assert Bundle.open(tmp_path / "b").manifest == bundle.manifest
    assert Matcher.open(tmp_path / "b").manifest.heatmaps is False


def test_a_convolution_of_four_dimensions_would_be_noticed(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    from dccnet.runtime.errors import NotVerifiedError

    shape = [1, 1, 2, 2, 2, 2]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1, 1, 1], [1.0])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    path = tmp_path / "four.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    with pytest.raises(NotVerifiedError, match="more than 3 dimensions"):
        describe_onnx(path)


def test_matcher_graph_is_the_model(small_model: DCCNet) -> None:
    graph = MatcherGraph(small_model, heatmaps=True)
    a, b = ({name: torch.rand_like(x) for name, x in side.items()} for side in graph.example().values())
    with torch.no_grad():
        outputs, expected = graph(a, b), small_model.match(a, b).scores
    assert len(outputs) == len(graph.output_names) == 8
    torch.testing.assert_close(outputs[6], expected.on_a)


# Bundles that went wrong on the way ------------------------------------------------------------


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def test_a_flipped_byte_is_noticed(copy: Path) -> None:
    data = bytearray((copy / "matcher.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "matcher.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"matcher\.onnx .* SHA-256 differs"):
        Bundle.open(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"encoder\.onnx is missing"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99 .* upgrade"),
        ({"schema": 0}, "schema 0 .* export it again"),
        ({"graphs": {}}, "damaged"),
        ({"unheard": 1}, "damaged"),
        ({"image_size": "large"}, "damaged"),
    ],
)
def test_manifests_of_another_kind_are_refused(copy: Path, change: dict[str, object], message: str) -> None:
    values = json.loads((copy / MANIFEST).read_text())
    values |= change
    values["digest"] = manifest_digest(values)
    (copy / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(BundleError, match=message):
        Bundle.open(copy)


def test_every_change_of_the_manifest_is_noticed(copy: Path) -> None:
    manifest = copy / MANIFEST
    text = manifest.read_text()
    for old, new in (
        ('"heatmaps": true', '"heatmaps": false'),
        ('"passed": true', '"passed": false'),
        ('"pairs": 3', '"pairs": 9'),
    ):
        assert old in text
        manifest.write_text(text.replace(old, new))
        with pytest.raises(BundleError, match="damaged or was edited"):
            Bundle.open(copy)


def test_folders_that_hold_more_than_a_bundle_are_not_replaced(
    copy: Path, small_model: DCCNet, pictures: list[Path]
) -> None:
    (copy / "thesis.tex").touch()
    with pytest.raises(UsageError, match="contains other files"):
        export_bundle(small_model, copy, pictures[:2])
    assert (copy / "thesis.tex").exists()


def test_a_manifest_cannot_point_outside(copy: Path) -> None:
    values = json.loads((copy / MANIFEST).read_text())
    values["graphs"]["encoder"]["file"] = "../encoder.onnx"
    values["digest"] = manifest_digest(values)
    (copy / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(BundleError, match="outside the bundle"):
        Bundle.open(copy)


def test_export_command_marks_a_disagreeing_bundle_and_exits_3(
    dcc: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An impossible tolerance simulates a wrong exporter."""
    save_checkpoint(build(PLAIN), tmp_path / "m.safetensors")
    (tmp_path / "sitecustomize.py").write_text(
        "from dccnet.runtime.agreement import CRITERIA\n"
        "CRITERIA['float32'] = CRITERIA['float32']._replace(score_difference=-1.0)\n"
    )
    import os

    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = dcc("export", tmp_path / "m.safetensors", "-o", tmp_path / "b", env=environment)
    assert result.returncode == 3
    assert "does not agree with PyTorch" in result.stderr
    manifest = Bundle.open(tmp_path / "b").manifest
    assert manifest.verification is not None and not manifest.verified
    assert dataclasses.asdict(manifest)["verification"]["passed"] is False
    matched = dcc("match", tmp_path / "b", *[str(p) for p in _two_pictures()])
    assert matched.returncode == 0 and "not verified" in matched.stderr


def _two_pictures() -> list[Path]:
    from dccnet.export.bundles.samples import PICTURES

    return sorted(PICTURES.glob("*.jpg"))[:2]


def test_engines_of_an_export_are_compared_with_their_graphs(
    bundle: Bundle, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the disagreement, which leaves a bundle without engines."""

    def exported(model: DCCNet, path: Path, *arguments: Any, **options: Any) -> Bundle:
        shutil.copytree(bundle.path, path)
        return Bundle.open(path)

    monkeypatch.setattr("dccnet.export.build.export_bundle", exported)
    for name, worst in (("good", None), ("bad", "score_b")):
        with emulated(tmp_path / "cache") as machine:
            machine.tensorrt.distort = lambda output, value, worst=worst: (
                value * np.nan if output == worst else value
            )
            arguments = [str(checkpoint), "--format", "engine", "-o", str(tmp_path / name)]
            result = CliRunner().invoke(export_command, arguments, standalone_mode=False)
        engines = Bundle.open(tmp_path / name).manifest.engines
        if worst is None:
            assert result.exception is None
            assert all(e.comparison is not None and e.comparison.passed for e in engines)
            assert [e.gpu is not None and e.gpu.name for e in engines] == ["Emulated GPU"] * 2
        else:
            assert isinstance(result.exception, NotVerifiedError) and not engines
            assert "matcher: score_b" in str(result.exception)
