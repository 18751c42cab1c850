"""Files for Label Studio and CVAT, read by libraries that do not go with dcc's OpenCV: make test-labels."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime.annotations.files import read_annotations, write_annotations
from dccnet.runtime.images import write_image
from tests.helpers.annotation_sets import BIRD, SIZE, bird_mask, birds

CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="keypoint" toName="image"><Label value="beak" model_index="0"/>
<Label value="eye &lt;&amp;&gt; brow" model_index="1"/><Label value="tail" model_index="2"/>
</KeyPointLabels>
<RectangleLabels name="rectangle" toName="image"><Label value="bird"/></RectangleLabels>
<BrushLabels name="brush" toName="image"><Label value="bird"/></BrushLabels></View>"""


def library(name: str) -> Any:
    """The library; without it, the test is skipped, but not where `make test-labels` runs it."""
    if "DCC_TEST_LABELS" in os.environ:
        return __import__(name, fromlist=["_"])
    return pytest.importorskip(name)


@pytest.fixture
def tasks(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "tasks.json"
    write_annotations(birds(), path, "labelstudio", {"version": "dcc 1"})
    content: list[dict[str, Any]] = json.loads(path.read_text())
    return content


def test_label_studios_sdk_accepts_predictions(tasks: list[dict[str, Any]]) -> None:
    interface = library("label_studio_sdk.label_interface").LabelInterface(CONFIG)
    interface.validate()
    for prediction in tasks[0]["predictions"]:
        assert interface.validate_prediction(prediction, return_errors=True) == []
    tasks[0]["predictions"][0]["result"][0]["from_name"] = "another"
    assert interface.validate_prediction(tasks[0]["predictions"][0], return_errors=True) != []


def test_label_studios_converter_reads_brush_masks(tasks: list[dict[str, Any]]) -> None:
    brush = library("label_studio_sdk.converter.brush")
    (result,) = (r for r in tasks[0]["predictions"][0]["result"] if r["type"] == "brushlabels")
    decoded = np.reshape(brush.decode_rle(result["value"]["rle"]), (*SIZE, 4))[..., 3]
    assert np.array_equal(decoded > 0, bird_mask())
    assert brush.mask2rle(bird_mask().astype(np.uint8) * 255) != []


def test_masks_of_label_studios_converter_are_read(tmp_path: Path, tasks: list[dict[str, Any]]) -> None:
    brush = library("label_studio_sdk.converter.brush")
    (result,) = (r for r in tasks[0]["predictions"][0]["result"] if r["type"] == "brushlabels")
    result["value"]["rle"] = brush.mask2rle(bird_mask().astype(np.uint8) * 255)
    path = tmp_path / "again.json"
    path.write_text(json.dumps(tasks))
    mask = next(iter(read_annotations(path).pictures)).instances[0].mask
    assert mask is not None and np.array_equal(mask.array(), bird_mask())


def test_label_studios_converter_writes_the_same_keypoints_to_coco(
    tmp_path: Path, tasks: list[dict[str, Any]]
) -> None:
    converter = library("label_studio_sdk.converter").Converter
    for number, task in enumerate(tasks, start=1):
        results = task.pop("predictions", [])
        kept = [r for one in results for r in one["result"] if r["type"] != "brushlabels"]
        task |= {"id": number, "annotations": [{"id": number, "result": kept, "was_cancelled": False}]}
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks[:1]))
    made = converter(CONFIG, str(tmp_path), download_resources=False)
    made.convert_to_coco(str(export), str(tmp_path / "coco"), is_dir=False)
    content = json.loads((tmp_path / "coco" / "result.json").read_text())
    box, points = content["annotations"]
    np.testing.assert_allclose(box["bbox"], [1, 2, 30.5, 20], atol=1e-6)
    assert points["keypoints"] == [2, 2, 2, 30, 20, 2, 0, 0, 0]  # it rounds to whole pixels


def test_label_studios_client_sends_predictions(tasks: list[dict[str, Any]]) -> None:
    """Through the SDK's client, to a server that keeps what it is sent."""
    client = library("label_studio_sdk.client").LabelStudio
    sent: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps({"id": 1, **sent[-1]}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        api = client(base_url=f"http://127.0.0.1:{server.server_address[1]}", api_key="key")
        prediction = tasks[0]["predictions"][0]
        answer = api.predictions.create(task=1, **prediction)
    finally:
        server.shutdown()
        server.server_close()
    assert sent == [{"task": 1, **prediction}] and answer.score == 0.85


def test_datumaro_reads_cvats_file(tmp_path: Path) -> None:
    datumaro = library("datumaro")
    path = tmp_path / "all.xml"
    write_annotations(birds(), path, "cvat", {})
    for picture in birds().pictures:
        if picture.size is not None:
            place = tmp_path / "images" / picture.name
            place.parent.mkdir(parents=True)
            write_image(place, np.zeros((*picture.size, 3), np.uint8))
    dataset = datumaro.Dataset.import_from(str(path), "cvat")
    items = {item.id: item for item in dataset}
    assert set(items) == {"a/x", "b/x"}
    labels = dataset.categories()[datumaro.AnnotationType.label]
    found: dict[str, Any] = {}
    for one in items["a/x"].annotations:
        found[labels[one.label].name] = one
    assert found["bird box"].get_bbox() == pytest.approx([1, 2, 30.5, 20])
    assert np.array_equal(np.asarray(found["bird mask"].image) > 0, bird_mask())
    places = {name: list(found[name].points) for name in BIRD.points}  # it takes a skeleton apart
    assert places == {"beak": [1.5, 2.0], "eye <&> brow": [30.0, 20.25], "tail": [50.0, 30.0]}
