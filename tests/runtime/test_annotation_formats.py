"""Every format is read back by dcc and by its own tool's library, with the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dccnet.runtime.annotations.brush import decode_brush, encode_brush
from dccnet.runtime.annotations.files import format_of, read_annotations, write_annotations
from dccnet.runtime.annotations.model import AnnotationSet, Category, Picture, fitted, merged
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.errors import DataError, DccError, UsageError
from tests.helpers.annotation_sets import BIRD, SIZE, bird, bird_mask, birds

FILES = {
    "coco": "all.json",
    "cvat": "all.xml",
    "labelstudio": "tasks.json",
    "dlc": "CollectedData_me.csv",
    "csv": "all.csv",
}


def written(folder: Path, form: str, annotations: AnnotationSet | None = None, name: str = "") -> Path:
    path = folder / (name or FILES[form])
    write_annotations(birds() if annotations is None else annotations, path, form, {"version": "dcc 1"})
    return path


@pytest.mark.parametrize("form", FILES)
def test_names_and_places_return(tmp_path: Path, form: str) -> None:
    found = read_annotations(written(tmp_path, form))
    names = [picture.name for picture in found.pictures]
    prefix = "labeled-data/" if form == "dlc" else ""
    assert names[:2] == [f"{prefix}a/x.jpg", f"{prefix}b/x.jpg"]
    (instance,) = next(iter(found.pictures)).instances
    points = found.category(instance.category).points
    counted = {points[row]: instance.points[row].tolist() for row in np.flatnonzero(instance.annotated)}
    assert counted == {"beak": pytest.approx([1.5, 2.0]), "eye <&> brow": pytest.approx([30.0, 20.25])}
    if form != "dlc":
        assert instance.category == "bird" and instance.box is not None
        np.testing.assert_allclose(instance.box, [1, 2, 30.5, 20])
    if form in ("coco", "cvat", "labelstudio"):
        assert instance.mask is not None and np.array_equal(instance.mask.array(), bird_mask())
    if form in ("coco", "cvat"):
        assert found.category("bird").points == BIRD.points and found.category("bird").edges == BIRD.edges
    if form in ("coco", "cvat", "csv"):
        assert sorted(instance.visibility.tolist())[-2:] == [1, 2]


def test_coco_is_what_pycocotools_reads(tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco")
    coco = tools.COCO(str(written(tmp_path, "coco")))
    (category,) = coco.loadCats(coco.getCatIds())
    assert category["keypoints"] == list(BIRD.points) and category["skeleton"] == [[1, 2], [2, 3]]
    assert category["name"] == "bird" and category["supercategory"] == "animal"
    assert {image["file_name"] for image in coco.loadImgs(coco.getImgIds())} == {"a/x.jpg", "b/x.jpg"}
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert annotation["keypoints"] == [1.5, 2, 2, 30, 20.25, 1, 0, 0, 0]
    assert annotation["num_keypoints"] == 2 and annotation["score"] == 0.85
    assert annotation["keypoint_confidence"] == [0.9, 0.75, 0.25]
    assert np.array_equal(coco.annToMask(annotation), bird_mask())
    assert annotation["area"] == bird_mask().sum()
    assert coco.dataset["info"]["skipped"][0]["file_name"] == "c.jpg"


def test_masks_of_pycocotools_are_read(tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    compressed = tools.encode(np.asfortranarray(bird_mask().astype(np.uint8)))["counts"].decode()
    assert np.array_equal(RunLengths.of_text(compressed, SIZE).array(), bird_mask())
    polygon = [7.0, 5.0, 33.0, 5.0, 33.0, 20.0, 7.0, 20.0]
    whole = tools.decode(tools.merge(tools.frPyObjects([polygon], *SIZE)))
    assert np.array_equal(RunLengths.of_polygons([polygon], SIZE).array(), whole)
    slanted = [3.2, 2.0, 50.0, 11.5, 20.0, 38.0]
    whole = tools.decode(tools.merge(tools.frPyObjects([slanted], *SIZE)))
    assert (RunLengths.of_polygons([slanted], SIZE).array() != whole).sum() < 0.05 * whole.sum()


def test_sleap_io_reads_labels_of_sleap(tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    annotations = AnnotationSet(
        (BIRD,),
        (Picture("a/x.jpg", SIZE, (bird(),)), Picture("b/x.jpg", SIZE, (bird(score=None),))),
        tmp_path,
    )
    path = written(tmp_path, "sleap", annotations, "labels.slp")
    labels = sleap_io.load_slp(str(path), open_videos=False)
    assert labels.skeletons[0].node_names == list(BIRD.points)
    assert [tuple(edge) for edge in labels.skeletons[0].edge_inds] == list(BIRD.edges)
    carried, by_hand = (frame.instances[0] for frame in labels.labeled_frames)
    assert isinstance(carried, sleap_io.PredictedInstance) and carried.score == pytest.approx(0.85)
    assert not isinstance(by_hand, sleap_io.PredictedInstance)
    expected = [[1.5, 2.0, 0.9], [30.0, 20.25, 0.75]]
    np.testing.assert_allclose(carried.numpy(scores=True)[:2], expected, rtol=1e-6)
    assert np.isnan(carried.numpy()[2]).all()
    again = read_annotations(path)
    assert [Path(picture.name).name for picture in again.pictures] == ["x.jpg", "x.jpg"]
    assert again.categories[0].edges == BIRD.edges


def test_frames_of_a_video_are_frames_in_sleap(tmp_path: Path) -> None:
    pytest.importorskip("sleap_io")
    pictures = tuple(
        Picture(f"clip.mp4/frame_{n:06d}", SIZE, (bird(),), frame=n, time_s=n / 25) for n in (0, 7)
    )
    path = tmp_path / "labels.slp"
    write_annotations(AnnotationSet((BIRD,), pictures), path, "sleap", {}, "clip.mp4")
    assert [one.name for one in read_annotations(path).pictures] == [one.name for one in pictures]


@pytest.mark.parametrize("form", ["coco", "dlc"])
def test_sleap_io_reads_the_other_formats(tmp_path: Path, form: str) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    import cv2

    for name in ("a/x.jpg", "b/x.jpg"):
        for place in (tmp_path / name, tmp_path / "labeled-data" / name):
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), np.zeros((*SIZE, 3), np.uint8))
    path = written(tmp_path, form)
    labels = sleap_io.load_coco(str(path)) if form == "coco" else sleap_io.load_dlc(str(path))
    frame = next(frame for frame in labels.labeled_frames if frame.instances)
    np.testing.assert_allclose(frame.instances[0].numpy()[:2], [[1.5, 2.0], [30.0, 20.25]])


def test_pandas_reads_both_files_of_deeplabcut(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    csv = pandas.read_csv(written(tmp_path, "dlc"), header=[0, 1, 2], index_col=[0, 1, 2])
    h5 = pandas.read_hdf(written(tmp_path, "dlc", name="CollectedData_me.h5"))
    for frame in (csv, h5):
        assert list(frame.columns.names) == ["scorer", "bodyparts", "coords"]
        assert frame.index[0] == ("labeled-data", "a", "x.jpg")
        assert frame.columns[0] == ("dcc", "beak", "x")
        row = frame.iloc[0]
        assert row["dcc"]["beak"].tolist() == [1.5, 2.0] and row["dcc"]["tail"].isna().all()
        assert frame.iloc[1].isna().all()


def test_several_animals_are_individuals_in_deeplabcut(tmp_path: Path) -> None:
    two = AnnotationSet((BIRD,), (Picture("s/x.jpg", SIZE, (bird(), bird())),))
    path = written(tmp_path, "dlc", two)
    assert path.read_text().splitlines()[1].startswith("individuals,,,bird1,bird1")
    assert len(next(iter(read_annotations(path).pictures)).instances) == 2


def test_label_studio_has_percent_and_scores(tmp_path: Path) -> None:
    task, empty = json.loads(written(tmp_path, "labelstudio").read_text())
    assert task["data"] == {"image": "/data/local-files/?d=a/x.jpg"} and empty["annotations"] == []
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.85 and prediction["model_version"] == "dcc 1"
    beak = next(r for r in prediction["result"] if r["value"].get("keypointlabels") == ["beak"])
    assert beak["value"]["x"] == pytest.approx(100 * 1.5 / 60)
    assert beak["value"]["y"] == pytest.approx(100 * 2 / 40)
    assert (beak["original_width"], beak["original_height"]) == (60, 40) and beak["score"] == 0.9
    assert {r["type"] for r in prediction["result"]} == {"rectanglelabels", "brushlabels", "keypointlabels"}


def test_label_studios_own_names_return(tmp_path: Path) -> None:
    value = {"x": 10, "y": 20, "width": 0.4, "keypointlabels": ["nose"]}
    result = {"type": "keypointlabels", "from_name": "kp", "to_name": "pic", "value": value}
    size = {"original_width": 200, "original_height": 100}
    address = "http://host/data/local-files/?d=set/a.jpg"
    task = {"data": {"photo": address}, "annotations": [{"result": [result | size]}]}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]))
    found = read_annotations(path)
    (picture,) = found.pictures
    assert picture.name == "set/a.jpg" and picture.instances[0].points.tolist() == [[20, 20]]
    (again,) = json.loads(written(tmp_path, "labelstudio", found, "again.json").read_text())
    assert again["data"] == {"photo": address}
    (kept,) = again["annotations"][0]["result"]
    assert (kept["from_name"], kept["to_name"]) == ("kp", "pic")


def test_points_of_cvat_without_a_skeleton_stay_single_points(tmp_path: Path) -> None:
    path = tmp_path / "task.xml"
    path.write_text(
        '<annotations><image id="4" name="a.jpg" width="60" height="40">'
        '<points label="nose" occluded="0" points="10.50,20.00"/>'
        '<points label="tail" occluded="1" points="30.00,2.00"/>'
        '<box label="cat" xtl="1" ytl="2" xbr="11" ybr="22"/></image></annotations>'
    )
    found = read_annotations(path)
    text = written(tmp_path, "cvat", found).read_text()
    assert "<skeleton" not in text and '<points label="nose"' in text and 'points="10.50,20.00"' in text
    again = read_annotations(tmp_path / "all.xml")
    assert again.categories == found.categories


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 6))
def test_masks_survive_both_run_lengths(values: list[bool], width: int) -> None:
    mask = np.resize(np.array(values), (len(values) // width + 1, width))
    runs = RunLengths.of(mask)
    assert np.array_equal(runs.array(), mask) and runs.area == mask.sum()
    assert np.array_equal(decode_brush(encode_brush(mask), runs.size), mask)


@given(st.lists(st.integers(0, 255), max_size=40))
def test_other_bytes_are_no_brush_mask(encoded: list[int]) -> None:
    with pytest.raises(ValueError, match="brush mask"):
        decode_brush(encoded, (500, 500))


CAT = {"image_id": 1, "category_id": 1}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}],
    "categories": [{"id": 1, "name": "cat", "keypoints": ["nose", "tail"]}],
    "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 0]}],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": None}, "'images' must be a list"),
        ({"categories": [{"id": 1, "name": "cat", "keypoints": ["nose"]}]}, "which need three each"),
        ({"categories": [{"id": 2, "name": "cat"}]}, "its category is not"),
        (
            {"categories": [{"id": 1, "name": "cat", "keypoints": ["nose", "tail"], "skeleton": [[0, 1]]}]},
            "numbers from 1 to 2",
        ),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2]}]}, "two|2 numbers"),
        (
            {
                "annotations": [
                    {"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [5]}}
                ]
            },
            "have 5 pixels",
        ),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, "x", 2, 0, 0, 0]}]},
            "no number",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(COCO | change))
    with pytest.raises(DataError, match=said):
        read_annotations(path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "declares entities"),
        ("a.xml", "<annotations><track/></annotations>", "CVAT for images"),
        ("a.xml", "<a", "no XML"),
        ("a.json", "[{}]", "has no 'data'"),
        ("a.json", "{}", "neither COCO"),
        ("a.csv", "image,y\n", "no column 'x'"),
        ("a.csv", "image,x,y,label\na.jpg,one,2,p\n", "no number"),
        ("a.csv", "scorer,me\nbodyparts,p\n", "no row 'coords'"),
        ("a.h5", "", "may be executed"),
        ("a.slp", "", "does not exist|cannot read"),
    ],
)
def test_damaged_files_give_one_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    if name.endswith("slp"):
        pytest.importorskip("sleap_io")
    (tmp_path / name).write_text(text)
    with pytest.raises(DccError, match=said):
        read_annotations(tmp_path / name)


def test_the_format_follows_the_suffix() -> None:
    assert format_of(Path("a.json"), None) == "coco" and format_of(Path("a.csv"), None) == "csv"
    assert (
        format_of(Path("a.h5"), None) == "dlc" and format_of(Path("a.json"), "labelstudio") == "labelstudio"
    )
    with pytest.raises(UsageError, match=r"is written to \.xml"):
        format_of(Path("a.json"), "cvat")
    with pytest.raises(UsageError, match="name the format"):
        format_of(Path("a.txt"), None)


def test_categories_of_two_files_become_one() -> None:
    both = merged([Category("cat", ("a", "b"), ((0, 1),)), Category("cat", ("b", "c"), ((0, 1),))])
    assert both == (Category("cat", ("a", "b", "c"), ((0, 1), (1, 2))),)
    wanted = Category("bird", ("tail", "beak", "wing"))
    moved = fitted(bird(), BIRD, wanted)
    assert moved.points[0].tolist() == [50, 30] and moved.visibility.tolist() == [0, 2, 0]
