"""Triton's own protobuf reads the configurations, and the client talks to a stand-in: make test-triton."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from dccnet.export.triton.repository import export_triton
from dccnet.runtime.arrays import Image
from dccnet.runtime.images import read_image, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from tests.helpers.paths import ROOT
from tests.helpers.triton_repository import PIXELS, Message, Repository, parse

if "DCC_TEST_TRITON" not in os.environ:  # where it is set, it must not be missing
    pytest.importorskip("tritonclient.grpc")
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.helpers.triton_server import serve_grpc, serve_http


class Served(NamedTuple):
    """A server, and a connection to it by one of the protocols."""

    path: Path
    url: str
    grpc: bool
    seen: list[str]
    program: ModuleType
    """The client's."""
    client: Any


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triton") / "repository"
    export_triton(open_bundle(), path)
    return path


@pytest.fixture(scope="module", params=["http", "grpc"])
def served(request: pytest.FixtureRequest, repository: Path) -> Iterator[Served]:
    program = program_at(repository / "client.py")
    serve = serve_http if request.param == "http" else serve_grpc
    with serve(Repository(repository)) as (url, seen):
        client = program.Client(url, grpc=request.param == "grpc")
        yield Served(repository, url, request.param == "grpc", seen, program, client)
        client.close()


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher.open(threads=1)


def program_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("triton_client", path)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def comparable(message: Message) -> Message:
    """The same with the entries of maps sorted, and without defaults, which protobuf does not print."""
    kept: Message = {}
    for name, given in message.items():
        values = [comparable(value) if isinstance(value, dict) else value for value in given]
        is_map = all(isinstance(value, dict) and set(value) == {"key", "value"} for value in values)
        if values not in ([0], ["KIND_AUTO"]):
            kept[name] = sorted(values, key=str) if is_map else values
    return kept


def test_tritons_own_protobuf_reads_every_configuration(repository: Path) -> None:
    configs = sorted(repository.glob("*/config.pbtxt"))
    assert len(configs) == 10
    for path in configs:
        text = path.read_text(encoding="utf-8")
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
        printed = text_format.MessageToString(message)
        assert comparable(parse(printed)) == comparable(parse(text)), path
        assert message.name == path.parent.name and message.max_batch_size == 8
        types = [tensor.data_type for tensor in (*message.input, *message.output)]
        assert model_config_pb2.TYPE_INVALID not in types


def test_the_client_returns_what_the_matcher_does(
    served: Served, matcher: Matcher, photos: list[Image]
) -> None:
    a, b = photos[0], photos[1][:90, :130].copy()
    result = matcher.match(a, b)
    found, expected = served.client.match(a, b), result.mutual()
    for name in ("points_a", "points_b"):
        np.testing.assert_allclose(found[name][found["mutual"]], getattr(expected, name), atol=PIXELS)
    np.testing.assert_allclose(found["mutual_scores"][found["mutual"]], expected.scores, rtol=1e-6)
    np.testing.assert_allclose(found["confidence"][found["mutual"]], expected.confidence, atol=1e-6)
    kept = served.client.encode(a)
    for name, value in served.client.match(kept, b).items():
        np.testing.assert_array_equal(value, found[name])
    points = [[12.5, 40.0], [100.0, 3.25]]
    moved = served.client.transfer(kept, b, points)
    carried = result.carry(points, "a")
    np.testing.assert_allclose(moved["points_b"], carried.points_b, atol=PIXELS)
    np.testing.assert_allclose(moved["scores"], carried.scores, rtol=1e-6)
    models = {text.rpartition("dcc_")[2].removesuffix("/infer") for text in served.seen}
    assert {"encode", "match", "match_reference", "transfer_reference"} <= models


def test_the_clients_command_line(
    served: Served, matcher: Matcher, pictures: list[Path], photos: list[Image]
) -> None:
    common = ["--url", served.url, *(["--grpc"] if served.grpc else [])]
    command = [sys.executable, "-I", str(served.path / "client.py")]
    a, b, c = map(str, pictures[:3])
    done = subprocess.run([*command, "match", a, b, c, *common], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line, other, picture in zip(done.stdout.splitlines(), (b, c), photos[1:3], strict=True):
        found, expected = json.loads(line), matcher.match(photos[0], picture).mutual()
        assert (found["a"], found["b"]) == (a, other) and "mutual" not in found
        np.testing.assert_allclose(found["points_b"], expected.points_b, atol=PIXELS)
        np.testing.assert_allclose(found["scores"], expected.scores, rtol=1e-6)
    arguments = ["transfer", a, b, "--point", "120,80.5", *common]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    expected_point = matcher.match(*photos[:2]).transfer([[120, 80.5]], "a")
    np.testing.assert_allclose(json.loads(done.stdout)["points_b"], expected_point, atol=PIXELS)


def test_what_the_client_cannot_do_is_said_in_a_sentence(
    served: Served, pictures: list[Path], photos: list[Image], capsys: pytest.CaptureFixture[str]
) -> None:
    client, error = served.client, served.program.ClientError
    for points in ([[400.0, 10.0]], [[np.nan, 1.0]], [1.0, 2.0], []):
        with pytest.raises(error, match=r"outside the picture A|points must be finite"):
            client.transfer(photos[0], photos[1], points)
    with pytest.raises(error, match="a picture must be uint8"):
        client.match(photos[0].astype(np.float32), photos[1])
    with pytest.raises(error, match="no model cats_match that is ready"):
        served.program.Client(served.url, grpc=served.grpc, name="cats").match(*photos[:2])
    with pytest.raises(error, match="local_a has dims"):
        client.match(
            served.client.encode(photos[0]) | {"local": np.zeros((1, 3, 2, 2), np.float32)}, photos[1]
        )
    a, b = map(str, pictures[:2])
    common = ["--url", served.url, *(["--grpc"] if served.grpc else [])]
    closed = ["--url", "127.0.0.1:9", *common[2:], "--timeout", "5"]
    for arguments, sentence in (
        (["match", a, "nothing.jpg", *common], "nothing.jpg does not exist or is no picture"),
        (["transfer", a, b, "--point", "12;3", *common], "a point is X,Y in pixels"),
        (["match", a, b, *closed], "127.0.0.1:9: "),
    ):
        assert served.program.main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("client.py: ") and sentence in said and len(said.splitlines()) == 1


def test_the_code_on_the_page_runs(
    served: Served,
    matcher: Matcher,
    photos: list[Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "triton.md").read_text("utf-8"), re.S)
    arguments = f'"{served.url}", grpc={served.grpc}'
    for name, photo in zip("ab", photos[:2], strict=True):
        write_image(tmp_path / f"{name}.jpg", photo)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "client", served.program)
    exec(compile(block.replace('"localhost:8000"', arguments), "triton.md", "exec"), {})
    expected = matcher.match(*map(read_image, ("a.jpg", "b.jpg"))).transfer([[120.0, 80.0]], "a")
    printed = re.findall(r"[\d.]+", capsys.readouterr().out.splitlines()[-1])
    np.testing.assert_allclose([float(number) for number in printed], expected[0], atol=PIXELS)
