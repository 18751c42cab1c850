"""The backend for Label Studio, asked over HTTP as Label Studio asks."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dccnet.integrations.label_studio import LARGEST_REQUEST, Backend, controls_of, run, serve
from dccnet.runtime.arrays import Image
from dccnet.runtime.propagate.annotator import Annotator
from tests.helpers.shifted_views import CELL, POINTS, view

CONFIG = """<View><Image name="img" value="$photo"/>
<KeyPointLabels name="kp" toName="img"><Label value="left"/><Label value="middle"/><Label value="low"/>
</KeyPointLabels><RectangleLabels name="box" toName="img"><Label value="cat"/></RectangleLabels></View>"""
Ask = Any


@pytest.fixture(scope="module")
def root(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "root"
    (folder / "set").mkdir(parents=True)
    cv2.imwrite(str(folder / "set" / "a b.png"), view(photos[0], 8, 4))
    (folder / "bad.png").write_bytes(b"no picture")
    cv2.imwrite(str(folder.parent / "secret.png"), view(photos[0], 0, 0))
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    return folder


@pytest.fixture(scope="module")
def ask(annotator: Annotator, root: Path) -> Iterator[Ask]:
    server = serve(Backend(annotator, root, "dcc 1"), port=0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def send(method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")

    yield send
    server.shutdown()
    server.server_close()
    thread.join()


def task(address: str, key: str = "photo") -> dict[str, Any]:
    return {"id": 5, "data": {key: address}}


def test_health_and_setup(ask: Ask) -> None:
    assert ask("GET", "/health")[1]["status"] == "UP" and ask("GET", "/")[0] == 200
    request = {"project": "1.1", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"}
    assert ask("POST", "/setup", request) == (200, {"model_version": "dcc 1"})
    assert ask("POST", "/setup", {"schema": "<View"})[0] == 400
    assert ask("GET", "/nothing")[0] == 404 and ask("POST", "/nothing", {})[0] == 404
    assert ask("POST", "/webhook", {"action": "ANNOTATION_CREATED"})[0] == 200


def test_predictions_have_the_projects_names(ask: Ask) -> None:
    request = {
        "tasks": [task("/data/local-files/?d=set/a%20b.png")],
        "project": "1.1",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": None},
    }
    status, answer = ask("POST", "/predict", request)
    assert status == 200
    (prediction,) = answer["results"]
    assert prediction["model_version"] == "dcc 1" and 0 < prediction["score"] <= 1
    assert {one["type"] for one in prediction["result"]} == {
        "keypointlabels",
        "rectanglelabels",
    }  # no brush
    points = {
        one["value"]["keypointlabels"][0]: one
        for one in prediction["result"]
        if "score" in one and one["type"] == "keypointlabels"
    }
    assert len(points) >= 2
    for name, one in points.items():
        assert (one["from_name"], one["to_name"]) == ("kp", "img")
        place = np.array([one["value"]["x"] * 1.6, one["value"]["y"] * 1.28])
        assert np.linalg.norm(place - np.array(POINTS[name]) + [8, 4]) < CELL


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=link.png",
        "/data/local-files/?d=/etc/hostname",
        "/etc/hostname",
        "../secret.png",
        "file:///etc/hostname",
        "http://169.254.169.254/latest/meta-data",
        "/data/local-files/?d=bad.png",
        "/data/local-files/?d=" + "x" * 5000,
        "/data/local-files/?d=a%00b",
        "",
    ],
)
def test_nothing_outside_the_root_is_read(ask: Ask, address: str) -> None:
    status, answer = ask("POST", "/predict", {"tasks": [task(address)], "label_config": CONFIG})
    assert status == 200 and answer["results"][0]["result"] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "Expecting"),
        (b"\xff", ""),
        (b"[]", "an object"),
        (b"{}", "'tasks' must be a list"),
        (b'{"tasks": [1]}', "'tasks' must be a list"),
        (json.dumps({"tasks": [{}] * 1001}).encode(), "more than 1000"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_request_is_refused(ask: Ask, body: bytes, said: str) -> None:
    status, answer = ask("POST", "/predict", body)
    assert status == 400 and said in answer["error"]
    assert ask("GET", "/health")[0] == 200


def test_large_requests_are_not_read(ask: Ask) -> None:
    status, answer = ask("POST", "/predict", None, {"Content-Length": str(LARGEST_REQUEST + 1)})
    assert status == 413 and str(LARGEST_REQUEST) in answer["error"]
    assert ask("POST", "/predict", None, {"Content-Length": "-1"})[0] == 411


def test_names_come_from_the_labelling_configuration() -> None:
    assert controls_of(CONFIG) == {
        "data": "photo",
        "from_name:keypointlabels": "kp",
        "from_name:rectanglelabels": "box",
        "to_name": "img",
    }
    with pytest.raises(ValueError, match="entities"):
        controls_of('<!DOCTYPE x [<!ENTITY y "z">]><View/>')


def test_an_address_that_is_none_spoils_no_other_task(ask: Ask) -> None:
    request = {"tasks": [task("http://[x/a.png"), task("set/a b.png")], "label_config": CONFIG}
    status, answer = ask("POST", "/predict", request)
    assert status == 200 and [bool(one["result"]) for one in answer["results"]] == [False, True]


def test_a_port_in_use_is_told_in_one_sentence(
    annotator: Annotator, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dccnet.integrations.label_studio.Annotator", lambda *_, **__: annotator)
    monkeypatch.setattr("dccnet.integrations.label_studio.Matcher.open", lambda *_, **__: None)
    taken = serve(Backend(annotator, root, "dcc 1"), port=0)
    with taken, pytest.raises(SystemExit) as ended:
        run(["a.json", "--root", str(root), "--port", str(taken.server_address[1])])
    assert ended.value.code == 2
    assert "choose another --port" in capsys.readouterr().err
