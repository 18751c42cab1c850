"""``dcc serve`` as a process of its own, with the built-in model, and a real client."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import requests
from click.testing import CliRunner

from dccnet.cli import dcc as command
from dccnet.runtime.checks import Side
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.views.choices import MIRRORS, VIEWS
from dccnet.runtime.writers import match_lists
from dccnet.service.forms import Views
from tests.helpers.service import Process, check_problem, post


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    process = Process(
        "--threads", "1", "--max-pixels", "200000", "--max-points", "100", "--max-body-mb", "1"
    )
    yield process
    process.kill()


@pytest.fixture(scope="module")
def matcher() -> Iterator[Matcher]:
    with Matcher.open(threads=1) as matcher:
        yield matcher


def close(found: dict[str, list[float]], wanted: dict[str, list[float]]) -> None:
    """Equal up to what a batch changes in sums of float32."""
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=2e-3, err_msg=name)


def answered(server: Process, fields: dict[str, str], a: Path, b: Path, reference: str | None) -> Any:
    """What a match answers; A is the reference of this address, if there is one."""
    if reference is None:
        answer = post(f"{server.url}/v1/match", fields, a=a, b=b)
    else:
        answer = post(f"{server.url}{reference}/match", fields, b=b)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_answers_are_those_of_the_matcher(server: Process, matcher: Matcher, pictures: list[Path]) -> None:
    a, b = pictures[:2]
    expected = matcher.match(a, b)
    points = [[120.0, 80.0], [33.5, 7.25]]
    reference = post(f"{server.url}/v1/references", a=a)
    assert reference.status_code == 201 and reference.headers["Location"].endswith(reference.json()["id"])

    def ask(number: int) -> None:
        side: Side = "b" if number % 2 else "a"
        fields = {"points": json.dumps(points), "mutual": "true", "from": side}
        found = answered(server, fields, a, b, reference.headers["Location"] if number >= 2 else None)
        assert (found["size_a"], found["size_b"]) == (list(expected.size_a), list(expected.size_b))
        close(found["points"], match_lists(expected.carry(points, side)))
        close(found["mutual"], match_lists(expected.mutual()))

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(ask, range(4)))
    gone = requests.delete(server.url + reference.headers["Location"], timeout=60)
    assert gone.status_code == 204
    check_problem(
        post(f"{server.url}{reference.headers['Location']}/match", b=b), 404, "there is no reference"
    )


def test_a_is_matched_mirrored_where_it_is_asked_for(
    server: Process, matcher: Matcher, pictures: list[Path], tmp_path: Path
) -> None:
    """B is A seen in a mirror; requests of all kinds come at once, so that they share batches."""
    a, b = pictures[1], tmp_path / "b.png"
    picture = read_image(a)
    cv2.imwrite(str(b), picture[:, ::-1])
    reference, plain = (
        post(f"{server.url}/v1/references", fields, a=a).headers["Location"]
        for fields in ({"mirrored": "true"}, {})
    )
    points = [[120.0, 80.0], [33.5, 7.25]]
    expected = {way: matcher.match(picture, b, mirror=mirror) for way, mirror in MIRRORS.items()}
    assert expected["yes"].mirrored and not expected["no"].mirrored

    def ask(number: int) -> None:
        way = ("no", "yes", "auto")[number % 3]
        fields = {"points": json.dumps(points), "mutual": "true", "mirror": way}
        found = answered(server, fields, a, b, reference if number >= 3 else None)
        assert found["mirrored"] == expected[way].mirrored
        close(found["points"], match_lists(expected[way].carry(points, "a")))
        close(found["mutual"], match_lists(expected[way].mutual()))

    with ThreadPoolExecutor(6) as clients:
        list(clients.map(ask, range(6)))
    turned = expected["yes"].transfer([[120.0, 80.0]], from_="a")
    np.testing.assert_allclose(turned, [[picture.shape[1] - 1 - 120, 80]], atol=picture.shape[1] / 20)
    check_problem(
        post(f"{server.url}{plain}/match", {"mirror": "auto"}, b=b),
        422,
        "send the picture again with mirrored",
    )
    check_problem(post(f"{server.url}/v1/match", {"mirror": "left"}, a=a, b=b), 422, "mirror: ")


def test_several_views_are_matched_where_they_are_asked_for(
    server: Process, matcher: Matcher, pictures: list[Path]
) -> None:
    assert get_args(Views) == tuple(map(str, VIEWS))
    a, b = pictures[:2]
    expected = matcher.match(a, b, views=3)
    reference, plain = (
        post(f"{server.url}/v1/references", fields, a=a).headers["Location"]
        for fields in ({"views": "3"}, {})
    )
    for address in (None, reference):
        found = answered(server, {"views": "3"}, a, b, address)
        close(found["mutual"], match_lists(expected.mutual()))
    one = answered(server, {}, a, b, reference)  # which needs fewer views
    close(one["mutual"], match_lists(matcher.match(a, b).mutual()))
    check_problem(
        post(f"{server.url}{plain}/match", {"views": "3"}, b=b), 422, "with mirrored=false and views=3"
    )
    check_problem(post(f"{server.url}/v1/match", {"views": "2"}, a=a, b=b), 422, "views: ")
    fields = {"views": "3", "heatmaps": "true", "points": "[[1, 2]]"}
    check_problem(post(f"{server.url}/v1/match", fields, a=a, b=b), 422, "heat maps are those of one view")


def test_drawings_are_pictures(server: Process, pictures: list[Path]) -> None:
    found = post(f"{server.url}/v1/match", {"draw": "lines"}, a=pictures[0], b=pictures[1]).json()
    kind, _, data = found["drawing"].partition(",")
    assert kind == "data:image/jpeg;base64"
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None and drawn.shape[1] >= 1200


def bomb(side: int) -> bytes:
    """A PNG whose header says ``side`` x ``side`` pixels, in some bytes."""
    png = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    png[16:24] = side.to_bytes(4, "big") * 2
    return bytes(png)


def test_bad_input_gets_its_status_and_one_sentence(server: Process, pictures: list[Path]) -> None:
    a, b = pictures[:2]
    url, good = f"{server.url}/v1/match", {"a": a, "b": b}
    many = json.dumps([[1, 1]] * 10_000)
    for fields, files, status, parts in (
        ({}, {"a": a, "b": Path("README.md")}, 422, "picture B is not a picture"),
        ({}, {"a": a.read_bytes()[:2000], "b": b}, 422, "picture A is truncated"),
        ({}, {"a": b"", "b": b}, 422, "picture A is empty"),
        ({}, {"a": bomb(60_000), "b": b}, 422, "picture A has 60000x60000 pixels, more than 200000"),
        ({}, {"a": a, "b": bytes(2 << 20)}, 413, "more than 1048576 bytes"),
        ({}, {"a": a}, 422, "send picture B as the file b"),
        ({"a": "/etc/passwd"}, {"b": b}, 422, "a: "),
        ({"a_url": "file:///etc/passwd"}, {"b": b}, 422, "fetches no addresses"),
        ({"a_url": "http://169.254.169.254/"}, {"b": b}, 422, "fetches no addresses"),
        ({"points": many}, good, 422, "10000 points, more than 100"),
        ({"points": "[[NaN, 1]]"}, good, 422, "not finite"),
        ({"points": "[[1e400, 1]]"}, good, 422, "not finite"),
        ({"points": f"[[1{'0' * 400}, 1]]"}, good, 422, "points"),
        ({"points": "[[1, 2"}, good, 422, "points must be JSON"),
        ({"points": "[" * 50_000}, good, 422, "points must be JSON"),
        ({"points": "[[1, 2, 3]]"}, good, 422, "2 columns"),
        ({"points": '{"x": 1}'}, good, 422, "a list of [x, y]"),
        ({"points": "[[900, 1]]"}, good, 422, "the point 900,1 lies outside the 360x360 picture A"),
        ({"from": "c", "points": "[]"}, good, 422, "from: "),
        ({"point": "[[1, 2]]"}, good, 422, "there is no field 'point'"),
        ({"heatmaps": "true", "points": "[[1, 2]]"}, good, 422, "no heat maps"),
        ({"least_confidence": "2"}, good, 422, "least_confidence: "),
        ({"draw": "../../etc"}, good, 422, "draw: "),
    ):
        check_problem(post(url, fields, **files), status, parts)
    check_problem(requests.get(f"{server.url}/v1/match", timeout=60), 405, "method")
    check_problem(requests.get(f"{server.url}/page/..%2f..%2fcore.py", timeout=60), 404)
    check_problem(requests.get(f"{server.url}/no", timeout=60), 404)
    check_problem(requests.post(url, json={"a": 1}, timeout=60), 422)
    check_problem(
        requests.get(server.url, headers={"Host": "evil.example"}, timeout=60), 421, "evil.example"
    )
    assert requests.get(f"{server.url}/healthz", timeout=60).json() == {"status": "ok"}
    assert post(url, {"points": "[[1, 2]]"}, **good).status_code == 200


def test_the_model_is_described_without_paths(server: Process, matcher: Matcher) -> None:
    model = requests.get(f"{server.url}/v1/model", timeout=60).json()
    assert model["name"] == "small-1" and model["grid"] == [22, 22]
    assert model["backend"] == matcher.backend.description
    assert model["limits"] == {
        "body_bytes": 1 << 20,
        "pixels": 200_000,
        "points": 100,
        "views": 8,
        "timeout_s": 30.0,
    }
    assert "/" not in json.dumps(model)


def test_a_stop_lets_the_running_request_end(pictures: list[Path]) -> None:
    server = Process("--threads", "1", "--batch-wait-ms", "700")
    answers: list[int] = []

    def ask() -> None:
        answers.append(post(f"{server.url}/v1/match", a=pictures[0], b=pictures[1]).status_code)

    client = threading.Thread(target=ask)
    try:
        client.start()
        inside = "dcc_requests_inside 1.0"
        while inside not in requests.get(f"{server.url}/metrics", timeout=60).text:
            time.sleep(0.02)
        host, port = server.url.removeprefix("http://").split(":")
        assert server.end(signal.SIGTERM) == 0
        client.join()
    finally:
        server.kill()
    assert answers == [200] and server.said.endswith("stopped\n")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port))):
        pass


def test_what_cannot_be_served_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: str) -> DccError:
        error = CliRunner().invoke(command, ["serve", *arguments]).exception
        assert isinstance(error, DccError), error
        return error

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(said("--port", str(port))) == (
            f"port {port} is not to be had (in use): name another with --port"
        )
    assert "no address of this machine" in str(said("--host", "203.0.113.7"))
    assert "no model has this name" in str(said("nothing-there"))
    monkeypatch.setenv("DCC_TOKEN", " ")
    error = said()
    assert isinstance(error, UsageError) and "DCC_TOKEN is empty" in str(error)
    monkeypatch.delenv("DCC_TOKEN")
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert str(said()) == f"a service needs uvicorn: {install('serve')}"
