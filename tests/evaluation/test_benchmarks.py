"""Loaders of the benchmarks, on generated data with the defects of real data."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.benchmarks.tss import read_flo
from dccnet.runtime.errors import DataError, ImageError, UsageError
from dccnet.runtime.writers import encode_flo
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.results import identity

SIZE = (tiny.HEIGHT, tiny.WIDTH)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["pf-pascal", "pf-willow", "tss"])
def test_lists_with_a_bom_or_windows_line_ends_are_the_same(
    tmp_path: Path, name: str, encoding: str, newline: str
) -> None:
    make = {"pf-pascal": tiny.pf_pascal, "pf-willow": tiny.pf_willow, "tss": tiny.tss}[name]
    path = make(tmp_path)
    plain = load_benchmark(name, path)
    path.write_bytes((path.read_text().replace("\n", newline) + newline).encode(encoding))
    changed = load_benchmark(name, path)
    assert [case.name for case in changed.cases] == [case.name for case in plain.cases]
    for a, b in zip(plain.cases, changed.cases, strict=True):
        if a.pair.source_points is not None:
            np.testing.assert_array_equal(a.pair.source_points, b.pair.source_points)


def test_suffixes_in_another_case_and_windows_separators(tmp_path: Path) -> None:
    path = tiny.pf_pascal(tmp_path, [tiny.pascal_row(0, 1, 1).replace("JPEGImages/0", r"JPEGImages\0")])
    images = tmp_path / "PF-dataset-PASCAL" / "JPEGImages"
    (images / "1.png").rename(images / "1.PNG")
    (case,) = load_benchmark("pf-pascal", path).cases
    assert case.pair.target.load().shape == (*SIZE, 3)
    assert case.pair.source.load().shape == (*SIZE, 3)


def grey(image: NDArray[np.uint8]) -> NDArray[np.generic]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def sixteen_bit(image: NDArray[np.uint8]) -> NDArray[np.generic]:
    return image.astype(np.uint16) * 257


@pytest.mark.parametrize("kind", [grey, sixteen_bit])
def test_grey_and_16_bit_pictures(tmp_path: Path, kind: object) -> None:
    path = tiny.pf_pascal(tmp_path, pairs=1)
    image = tiny.picture(0)
    tiny.write(tmp_path / "PF-dataset-PASCAL" / "JPEGImages" / "0.png", kind(image))  # type: ignore[operator]
    read = load_benchmark("pf-pascal", path).cases[0].pair.source.load()
    assert read.shape == image.shape
    assert read.dtype == np.uint8
    assert np.abs(grey(read).astype(int) - grey(image)).max() <= 2  # type: ignore[operator]


def test_palette_and_exif_rotated_pictures(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    path = tiny.pf_pascal(tmp_path, pairs=1)
    images = tmp_path / "PF-dataset-PASCAL" / "JPEGImages"
    flat = np.zeros((*SIZE, 3), np.uint8)
    flat[:, :10] = (250, 10, 20)
    picture = image_module.fromarray(flat[..., ::-1].copy())
    picture.quantize(4).save(images / "0.png")
    exif = image_module.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    picture.save(images / "1.jpg", exif=exif)
    path.write_text(path.read_text().replace("1.png", "1.jpg"))
    (case,) = load_benchmark("pf-pascal", path).cases
    np.testing.assert_array_equal(case.pair.source.load(), flat)
    upright = case.pair.target.load()
    assert upright.shape == (tiny.WIDTH, tiny.HEIGHT, 3)  # points are annotated on the upright picture
    assert upright[:8].mean(axis=(0, 1))[0] > 200


@pytest.mark.parametrize("category", ["0", "21", "cat", "1.5", "", "-1"])
def test_a_class_out_of_range_names_the_pair(tmp_path: Path, category: str) -> None:
    path = tiny.pf_pascal(tmp_path, [tiny.pascal_row(0, 1, 1), tiny.pascal_row(1, 2, category)])
    with pytest.raises(DataError, match=f"pair 2: class must be 1 to 20, not '{category}'"):
        load_benchmark("pf-pascal", path)
    assert load_benchmark("pairs", path).cases[1].pair.category == category


@pytest.mark.parametrize("points", ["-1,-1,-1,-1", "5;-1,-1;4,5;-1,5;5"])
def test_a_pair_without_keypoints_names_the_line(tmp_path: Path, points: str) -> None:
    path = tiny.pf_pascal(tmp_path, [tiny.pascal_row(0, 1, 1, points)])
    with pytest.raises(DataError, match="line 2: there are no keypoints"):
        load_benchmark("pf-pascal", path)


@pytest.mark.parametrize("name", ["pf-pascal", "pf-willow", "tss", "spair"])
def test_a_missing_picture_names_the_line_or_file(tmp_path: Path, name: str) -> None:
    if name == "spair":
        data = tiny.spair(tmp_path)
    else:
        make = {"pf-pascal": tiny.pf_pascal, "pf-willow": tiny.pf_willow, "tss": tiny.tss}[name]
        data = make(tmp_path)
    for image in tmp_path.rglob("image1.png" if name == "tss" else "1.png"):
        image.unlink()
    with pytest.raises(DataError, match=r"(line \d|\.json): .*1\.png does not exist"):
        load_benchmark(name, data)


def test_keypoints_outside_of_the_picture_are_scored_and_counted(tmp_path: Path) -> None:
    row = tiny.pascal_row(0, 1, 1, "5;47,4;8,5;20,4;-9")
    benchmark = load_benchmark("pf-pascal", tiny.pf_pascal(tmp_path, [row]))
    outcome = benchmark.score(benchmark.cases[0], identity(SIZE), (0.1,))
    assert (outcome.count, outcome.outside) == (2, 2)


def test_negative_coordinates_other_than_the_padding_are_points(tmp_path: Path) -> None:
    path = tiny.pf_pascal(tmp_path, [tiny.pascal_row(0, 1, 1, "5;-1;-0.5,4;-1;8,5;-1;20,4;-1;9")])
    (case,) = load_benchmark("pf-pascal", path).cases
    np.testing.assert_array_equal(case.pair.source_points, [[4, 3], [-1.5, 7]])


def test_numbers_of_columns(tmp_path: Path) -> None:
    path = tiny.pf_willow(tmp_path, 1, ["1"] * 39)
    with pytest.raises(DataError, match="line 2: there are 41 columns; PF-WILLOW's list has 42"):
        load_benchmark("pf-willow", path)
    path = tiny.tss(tmp_path, row="1,0")
    with pytest.raises(DataError, match="line 2: there are 4 columns; TSS's list has 5"):
        load_benchmark("tss", path)


@pytest.mark.parametrize(
    ("row", "message"),
    [("3,0,1", "direction must be one of 1, 2"), ("1,x,1", "flip A"), ("1,0,4", "category must be one of")],
)
def test_tss_fields_out_of_range(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        load_benchmark("tss", tiny.tss(tmp_path, row=row))


def test_tss_mirrors_the_source(tmp_path: Path) -> None:
    (plain,) = load_benchmark("tss", tiny.tss(tmp_path)).cases
    image = plain.pair.source.load()
    (mirrored,) = load_benchmark("tss", tiny.tss(tmp_path, row="1,1,2")).cases
    np.testing.assert_array_equal(mirrored.pair.source.load(), image[:, ::-1])
    np.testing.assert_array_equal(mirrored.pair.target.load(), plain.pair.target.load())
    assert mirrored.pair.category == "JODS"


def test_tss_without_its_flow_or_mask(tmp_path: Path) -> None:
    path = tiny.tss(tmp_path)
    next(tmp_path.rglob("mask1.png")).unlink()
    with pytest.raises(DataError, match=r"line 2: .*mask1\.png does not exist"):
        load_benchmark("tss", path)


def test_tss_whose_flow_has_another_size_or_no_foreground(tmp_path: Path) -> None:
    benchmark = load_benchmark("tss", tiny.tss(tmp_path, np.zeros((29, 40, 2), np.float32)))
    with pytest.raises(DataError, match="differ in size"):
        benchmark.score(benchmark.cases[0], identity(SIZE), (0.05,))
    benchmark = load_benchmark("tss", tiny.tss(tmp_path, mask=np.zeros(SIZE, np.uint8)))
    with pytest.raises(DataError, match="no pixel of the foreground"):
        benchmark.score(benchmark.cases[0], identity(SIZE), (0.05,))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-4], "is damaged: "),
        (lambda data: b"nonsense" + data[8:], "not a Middlebury"),
        (lambda data: data[:4] + b"\xff\xff\xff\x7f" * 2 + data[12:], "its header claims"),
        (lambda data: data[:3], "not a Middlebury"),
    ],
)
def test_damaged_flow_files(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "a.flo"
    data = encode_flo(np.ones((2, 3, 2), np.float32))
    path.write_bytes(data)
    np.testing.assert_array_equal(read_flo(path), np.ones((2, 3, 2)))
    path.write_bytes(damage(data))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        read_flo(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"src_kps": []}, "different numbers"),
        ({"src_kps": [], "trg_kps": []}, "no keypoints"),
        ({"trg_kps": [[1, "x"], [2, 2]]}, "no annotation"),
        ({"trg_bndbox": [5, 5, 5, 5]}, "is no box"),
        ({"trg_bndbox": [5, 5]}, "no annotation"),
        ({"category": "unicorn"}, "no category 'unicorn'"),
        ({"trg_kps": [[float("nan"), 1], [2, 2]]}, "not finite"),
    ],
)
def test_wrong_spair_annotations(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_benchmark("spair", tiny.spair(tmp_path, **changes))


def test_spair_with_a_bom_and_broken_json(tmp_path: Path) -> None:
    home = tiny.spair(tmp_path, pairs=1)
    (file,) = home.rglob("*.json")
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values), encoding="utf-8-sig")
    assert len(load_benchmark("spair", tmp_path).cases) == 1  # the parent folder is accepted
    file.write_text("{")
    with pytest.raises(DataError, match="no annotation of SPair-71k"):
        load_benchmark("spair", home)
    with pytest.raises(DataError, match=r"holds no \.json files"):
        load_benchmark("spair", home, split="val")


def test_a_folder_without_a_list_and_options_that_do_not_apply(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no list of pairs"):
        load_benchmark("pf-willow", tmp_path)
    with pytest.raises(DataError, match="dcc data fetch"):
        load_benchmark("pf-pascal", tmp_path / "absent")
    path = tiny.pf_pascal(tmp_path)
    with pytest.raises(UsageError, match="has its own protocol"):
        load_benchmark("pf-pascal", path, protocol="bbox")
    with pytest.raises(UsageError, match="--split applies to"):
        load_benchmark("pf-pascal", path, split="val")


def test_a_training_list_has_nothing_to_score(tmp_path: Path) -> None:
    path = tiny.pf_pascal(tmp_path)
    folder = "PF-dataset-PASCAL/JPEGImages"
    path.write_text(f"source_image,target_image,class,flip\n{folder}/0.png,{folder}/1.png,1,0\n")
    with pytest.raises(DataError, match="no keypoints to score"):
        load_benchmark("pairs", path)


def test_a_damaged_picture_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tiny.pf_pascal(tmp_path)
    (tmp_path / "PF-dataset-PASCAL" / "JPEGImages" / "0.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"0\.png is empty"):
        load_benchmark("pf-pascal", path).cases[0].pair.source.load()
