"""Repositories for Triton: their configurations, and what their ensembles compute, against ``Matcher``."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import tensor_dtype_to_np_dtype

from dccnet.export.triton.command import export_triton_command
from dccnet.export.triton.graphs.build import preprocessing
from dccnet.export.triton.repository import Settings, export_triton
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError, UsageError
from dccnet.runtime.files import sha256_of
from dccnet.runtime.manifest import EngineRecord, TensorSpec
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from tests.helpers.commands import Cli
from tests.helpers.triton_repository import DTYPES, PIXELS, Repository, RequestError, Tensors

FEATURES = ("local", "context", "fine")


@pytest.fixture(scope="module")
def built_in() -> Bundle:
    """With fine features and confidence, frames in uint8."""
    return open_bundle()


@pytest.fixture(scope="module", params=["built-in", "small"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Matcher, Repository]:
    """A bundle's matcher, and its repository; the small one's frames are not square, and float32."""
    bundle = open_bundle() if request.param == "built-in" else request.getfixturevalue("bundle")
    path = tmp_path_factory.mktemp("triton") / "repository"
    export_triton(bundle, path)
    return Matcher.open(bundle, threads=1), Repository(path)


def cut(photos: list[Image], size: tuple[int, int]) -> Image:
    """Another picture of each size, of the photos' content."""
    rows, columns = (
        np.linspace(0, last - 1, count).astype(int) for last, count in zip((200, 300), size, strict=True)
    )
    return np.ascontiguousarray(photos[1][rows][:, columns])


def test_every_name_shape_and_type_is_that_of_the_graph(served: tuple[Matcher, Repository]) -> None:
    _, repository = served
    files = [model for model in repository.models.values() if not model.steps]
    assert len(files) == 5
    for model in files:
        graph = onnx.load(str(model.file)).graph
        for tensors, values in ((model.inputs, graph.input), (model.outputs, graph.output)):
            assert list(tensors) == [value.name for value in values]
            for value in values:
                tensor, shape = tensors[value.name], value.type.tensor_type.shape.dim
                assert DTYPES[tensor["data_type"][0]] == tensor_dtype_to_np_dtype(
                    value.type.tensor_type.elem_type
                )
                assert shape[0].dim_param == "batch"
                assert tensor["dims"] == [-1 if dim.dim_param else dim.dim_value for dim in shape[1:]]


@pytest.mark.parametrize("sizes", [((97, 41), (200, 320)), ((1, 1), (352, 352)), ((60, 1), (33, 500))])
def test_an_ensemble_equals_the_matcher(
    served: tuple[Matcher, Repository], photos: list[Image], sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    matcher, repository = served
    a, b = photos[0][: sizes[0][0], : sizes[0][1]].copy(), cut(photos, sizes[1])
    result = matcher.match(a, b)
    expected, mutual = result.matches(), result.mutual()
    found = repository.infer("dcc_match", {"picture_a": a[None], "picture_b": b[None]})
    np.testing.assert_allclose(found["points_a"][0], expected.points_a, atol=1e-9)
    np.testing.assert_allclose(found["points_b"][0], expected.points_b, atol=PIXELS)
    np.testing.assert_allclose(found["scores"][0], expected.scores, rtol=1e-6)
    chosen = found["mutual"][0]
    assert chosen.sum() == len(mutual) > 0
    np.testing.assert_allclose(found["points_b"][0][chosen], mutual.points_b, atol=PIXELS)
    np.testing.assert_allclose(found["mutual_scores"][0][chosen], mutual.scores, rtol=1e-6)
    assert ("confidence" in found) == (expected.confidence is not None)
    if expected.confidence is not None:
        np.testing.assert_allclose(found["confidence"][0], expected.confidence, atol=1e-6)


def test_points_are_carried_as_the_matcher_does(
    served: tuple[Matcher, Repository], photos: list[Image]
) -> None:
    matcher, repository = served
    a, b = photos[0], cut(photos, (120, 77))
    height, width = a.shape[:2]
    corners = [[0, 0], [width - 1, height - 1], [-0.6, 12.5], [width - 0.5, height]]
    points = np.vstack([corners, np.random.default_rng(0).uniform(0, [width - 1, height - 1], (40, 2))])
    expected = matcher.match(a, b).carry(points, "a")
    found = repository.infer(
        "dcc_transfer", {"picture_a": a[None], "picture_b": b[None], "points": points[None]}
    )
    np.testing.assert_allclose(found["points_b"][0], expected.points_b, atol=PIXELS)
    np.testing.assert_allclose(found["scores"][0], expected.scores, rtol=1e-6)
    if expected.confidence is not None:
        np.testing.assert_allclose(found["confidence"][0], expected.confidence, atol=1e-6)


def test_kept_features_of_a_reference_give_the_same(
    served: tuple[Matcher, Repository], photos: list[Image]
) -> None:
    _, repository = served
    a, b = photos[0][None], cut(photos, (50, 70))[None]
    kept = {f"{name}_a": value for name, value in repository.infer("dcc_encode", {"picture": a}).items()}
    points = {"points": np.array([[[30.0, 20.0]]])}
    for name, more in (("match", {}), ("transfer", points)):
        whole = repository.infer(f"dcc_{name}", {"picture_a": a, "picture_b": b, **more})
        found = repository.infer(f"dcc_{name}_reference", {**kept, "picture_b": b, **more})
        for output, value in whole.items():
            np.testing.assert_array_equal(found[output], value)


def test_a_batch_equals_single_pairs(built_in: Bundle, photos: list[Image], tmp_path: Path) -> None:
    """Of what follows the network: in batches, its own sums may round differently."""
    export_triton(built_in, tmp_path / "repository", Settings(name="pair"))
    repository = Repository(tmp_path / "repository")
    pairs = [(photos[0], cut(photos, (50, 70))), (cut(photos, (90, 91)), photos[2])]
    inputs = [_inputs_of_matches(repository, *pair) for pair in pairs]
    together = {name: np.concatenate([single[name] for single in inputs]) for name in inputs[0]}
    points = np.random.default_rng(1).uniform(0, 49, (2, 6, 2))
    found = repository.infer("pair_matches", together)
    moved = repository.infer("pair_points", together | {"points": points})
    for number, single in enumerate(inputs):
        alone = repository.infer("pair_matches", single)
        for name, value in alone.items():
            np.testing.assert_allclose(found[name][number], value[0], atol=1e-9)
        alone = repository.infer("pair_points", single | {"points": points[number : number + 1]})
        np.testing.assert_allclose(moved["points_b"][number], alone["points_b"][0], atol=1e-9)


def _inputs_of_matches(repository: Repository, a: Image, b: Image) -> Tensors:
    features = [repository.infer("pair_encode", {"picture": picture[None]}) for picture in (a, b)]
    named = {
        f"{name}_{side}": value
        for side, kept in zip("ab", features, strict=True)
        for name, value in kept.items()
    }
    matcher = repository.models["pair_matcher"].inputs
    outputs = repository.infer("pair_matcher", {name: named[name] for name in matcher})
    return {name: (named | outputs)[name] for name in repository.models["pair_matches"].inputs}


def test_a_frame_of_any_size_is_the_runtimes_to_the_last_bit(built_in: Bundle, bundle: Bundle) -> None:
    sessions = [
        (
            other.manifest.frames,
            onnxruntime.InferenceSession(preprocessing(other.manifest).SerializeToString()),
        )
        for other in (built_in, bundle)
    ]
    assert {frames.dtype for frames, _ in sessions} == {"uint8", "float32"}

    @settings(max_examples=25, deadline=None)
    @given(height=st.integers(1, 700), width=st.integers(1, 700), seed=st.integers(0, 99))
    def check(height: int, width: int, seed: int) -> None:
        pictures = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
        for frames, session in sessions:
            found, size = session.run(["frame", "size"], {"picture": pictures})
            for picture, frame in zip(pictures, found, strict=True):
                np.testing.assert_array_equal(frame, frames.of(picture))
            assert size.tolist() == [[height, width]] * 2

    check()


def test_requests_that_warm_the_server_up_run(served: tuple[Matcher, Repository]) -> None:
    _, repository = served
    for model in repository.models.values():
        for warmup in model.config.get("model_warmup", []):
            (batch,) = warmup["batch_size"]
            inputs = {}
            for entry in warmup["inputs"]:
                (value,) = entry["value"]
                assert value["zero_data"] == [True]
                inputs[entry["key"][0]] = np.zeros((batch, *value["dims"]), DTYPES[value["data_type"][0]])
            model.check(inputs)
            if batch == 1:
                repository.infer(model.name, inputs)
    assert sum("model_warmup" in model.config for model in repository.models.values()) == 5


def test_a_version_is_the_digest_of_what_is_computed(built_in: Bundle, tmp_path: Path) -> None:
    first = export_triton(built_in, tmp_path / "repository")
    assert export_triton(built_in, tmp_path / "repository", Settings(instances=2)).models == first.models
    encoder = built_in.manifest.graphs["encoder"].sha256
    assert first.models["dcc_encoder"] == int(encoder[:12], 16)
    confidence = built_in.manifest.confidence
    assert confidence is not None
    changed = dataclasses.replace(
        built_in.manifest, confidence=dataclasses.replace(confidence, intercept=confidence.intercept + 1)
    )
    other = export_triton(Bundle(built_in.path, changed), tmp_path / "other")
    same = {name for name, version in first.models.items() if other.models[name] == version}
    assert same == {"dcc_encoder", "dcc_matcher", "dcc_preprocess", "dcc_encode"}


def test_settings_are_in_the_configurations(built_in: Bundle, tmp_path: Path) -> None:
    chosen = Settings(name="cats", device="gpu", instances=3, max_batch=4, queue_delay_us=150)
    export_triton(built_in, tmp_path / "repository", chosen)
    models = Repository(tmp_path / "repository").models
    for name, model in models.items():
        assert name.startswith("cats_") and model.max_batch == 4
        if model.steps:
            assert "instance_group" not in model.config  # which Triton refuses
            continue
        (group,), (batching,) = model.config["instance_group"], model.config["dynamic_batching"]
        on_gpu = name in ("cats_encoder", "cats_matcher")
        assert group == {"count": [3], "kind": ["KIND_GPU" if on_gpu else "KIND_CPU"]}
        assert batching == {"max_queue_delay_microseconds": [150]}
    profile = yaml.safe_load((tmp_path / "repository" / "model-analyzer.yaml").read_text())
    (ensemble,) = profile["profile_models"]
    flags = profile["profile_models"][ensemble]["perf_analyzer_flags"]["shape"]
    assert [flag.partition(":")[0] for flag in flags] == list(models[ensemble].inputs)
    assert set(profile["cpu_only_composing_models"].split(",")) < set(models)
    export_triton(built_in, tmp_path / "single", Settings(max_batch=1))
    assert "dynamic_batching" not in Repository(tmp_path / "single").models["dcc_encoder"].config


def test_requests_of_another_form_would_be_refused(served: tuple[Matcher, Repository]) -> None:
    """The stand-in for the server sees what is wrong."""
    _, repository = served
    picture = np.zeros((1, 5, 5, 3), np.uint8)
    for wrong in (
        {"picture": picture.astype(np.float32)},
        {"picture": picture[0]},
        {"picture": np.repeat(picture, 9, axis=0)},
        {"frame": picture},
    ):
        with pytest.raises(RequestError):
            repository.infer("dcc_encode", wrong)


def record_of(bundle: Bundle, name: str, **changes: Any) -> EngineRecord:
    graph, content = bundle.manifest.graphs[name], f"plan of the {name}".encode()
    (bundle.path / f"{name}.engine").write_bytes(content)
    made = {"library": "tensorrt", "version": "10.16.1", "targets": (), "batch": (1, 1, 4), "tf32": False}
    sizes = dict.fromkeys(("activation_bytes", "scratch_bytes", "weight_bytes"))
    return EngineRecord(
        graph=name,
        file=f"{name}.engine",
        sha256=sha256_of(content),
        bytes=len(content),
        onnx_sha256=graph.sha256,
        precision="float32",
        layers={},
        build_seconds=1.0,
        inputs=graph.inputs,
        outputs=graph.outputs,
        **{**made, **sizes, **changes},
    )


@pytest.fixture
def copied(built_in: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(built_in.path, tmp_path / "bundle")
    return Bundle(tmp_path / "bundle", built_in.manifest)


def with_engines(bundle: Bundle, *records: EngineRecord) -> Bundle:
    return Bundle(bundle.path, dataclasses.replace(bundle.manifest, engines=records))


def test_engines_of_the_bundle_take_the_place_of_graphs(copied: Bundle, tmp_path: Path) -> None:
    indices = {"index_a": "int32", "index_b": "int32"}  # as TensorRT may return them
    matcher = record_of(copied, "matcher")
    outputs = tuple(TensorSpec(s.name, indices.get(s.name, s.dtype), s.shape) for s in matcher.outputs)
    engines = record_of(copied, "encoder"), dataclasses.replace(matcher, outputs=outputs)
    written = export_triton(
        with_engines(copied, *engines), tmp_path / "repository", Settings(format="engine")
    )
    assert written.engines == dict.fromkeys(("encoder", "matcher"), "tensorrt 10.16.1")
    for name in ("encoder", "matcher"):
        folder = tmp_path / "repository" / f"dcc_{name}"
        config = (folder / "config.pbtxt").read_text()
        assert 'backend: "tensorrt"' in config and "KIND_GPU" in config and "max_batch_size: 4" in config
        (plan,) = folder.glob("*/model.plan")
        assert plan.read_bytes() == f"plan of the {name}".encode()
    matches = (tmp_path / "repository" / "dcc_matches" / "config.pbtxt").read_text()
    tensors = matches.partition("version_policy")[0]
    assert tensors.count("TYPE_INT32") == 2


def test_what_cannot_be_served_is_refused_in_a_sentence(copied: Bundle, tmp_path: Path) -> None:
    output, engine = tmp_path / "repository", Settings(format="engine")
    encoder, matcher = record_of(copied, "encoder"), record_of(copied, "matcher")
    other = record_of(copied, "matcher", library="tensorrt_rtx")
    many = record_of(copied, "matcher", batch=(2, 2, 4))
    half = tuple(dataclasses.replace(spec, dtype="float16") for spec in encoder.outputs)
    strange = tuple(dataclasses.replace(spec, dtype="bfloat16") for spec in encoder.outputs)
    for records, sentence in (
        ((), "no TensorRT engines: run dcc build"),
        ((encoder, other), "only engines of TensorRT-RTX, which Triton cannot load"),
        ((encoder, many), "takes at least 2 pictures at once"),
        (
            (dataclasses.replace(encoder, outputs=half), matcher),
            "the encoder returns local as float16 736x22x22",
        ),
        ((dataclasses.replace(encoder, outputs=strange), matcher), "Triton has no type for"),
    ):
        with pytest.raises(BundleError, match=sentence):
            export_triton(with_engines(copied, *records), output, engine)
    graph = copied.manifest.graphs["matcher"]
    without = dataclasses.replace(graph, outputs=tuple(s for s in graph.outputs if "window" not in s.name))
    graphs = {**copied.manifest.graphs, "matcher": without}
    with pytest.raises(BundleError, match=r"exported by dccnet 0\.1"):
        export_triton(Bundle(copied.path, dataclasses.replace(copied.manifest, graphs=graphs)), output)
    for wrong in ({"name": "a/b"}, {"format": "engine", "device": "cpu"}):
        with pytest.raises(UsageError):
            Settings(**wrong)  # type: ignore[arg-type]
    assert not output.exists()


def test_only_a_repository_is_replaced(built_in: Bundle, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    export_triton(built_in, output, Settings(name="old"))
    export_triton(built_in, output)
    assert {path.name.partition("_")[0] for path in output.iterdir() if path.is_dir()} == {"dcc"}
    (output / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="contains other files as well"):
        export_triton(built_in, output)
    assert (output / "notes.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="choose another name"):
        export_triton(built_in, tmp_path)


def test_the_command(tmp_path: Path, dcc: Cli) -> None:
    output = tmp_path / "repository"
    done = dcc("export-triton", "small-1", "-o", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    assert f"tritonserver --model-repository {output}" in done.stderr
    shown = CliRunner().invoke(export_triton_command, ["small-1", "-o", str(output), "--json"])
    assert json.loads(shown.stdout) == json.loads((output / "dcc-triton.json").read_text())
    assert (output / "client.py").is_file()
    done = dcc("export-triton", tmp_path / "nothing", "-o", output)
    assert done.returncode == 1 and "does not exist" in done.stderr
