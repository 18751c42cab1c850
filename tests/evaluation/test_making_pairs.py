"""``dcc data pairs``: lists from folders, annotation files and SPair-71k's layout."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.cli import dcc as command
from dccnet.evaluation.making_pairs.choosing import choose_pairs, split_photographs
from dccnet.evaluation.making_pairs.photographs import Photograph
from dccnet.evaluation.pairs import Pair, read_pairs
from dccnet.runtime.errors import DccError
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.tiny_benchmarks import picture, write


def make(*arguments: str | Path) -> tuple[dict[str, dict[str, object]], str]:
    done = CliRunner().invoke(command, ["data", "pairs", *map(str, arguments), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout), done.stderr


def said(*arguments: str | Path) -> str:
    error = CliRunner().invoke(command, ["data", "pairs", *map(str, arguments)]).exception
    assert isinstance(error, DccError), error
    return str(error)


def names(pairs: list[Pair]) -> set[str]:
    return {one.file.name for pair in pairs for one in (pair.source, pair.target) if one.file is not None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cats, six dogs in two folders, one fish, and a copy of a cat."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(10):
        write(root / "cat" / f"cat{i}.png", picture(i))
    for i in range(6):
        write(root / "dog" / ("a" if i % 2 else "b") / f"dog{i}.png", picture(20 + i))
    write(root / "fish" / "fish.png", picture(40))
    shutil.copy(root / "cat" / "cat3.png", root / "cat" / "cat3 (copy).png")
    write(root / "cat" / ".hidden.png", picture(50))
    (root / "cat" / "notes.txt").write_text("no picture")
    return root


def test_lists_of_folders_split_the_pictures(folder: Path, tmp_path: Path) -> None:
    train, rest = tmp_path / "lists" / "train.csv", tmp_path / "lists" / "train-rest.csv"
    made, told = make(folder, "-o", train, "--split", "0.7", "--flip")
    first, second = read_pairs(train), read_pairs(rest)
    assert names(first).isdisjoint(names(second))
    every = names(first) | names(second)
    assert len(every) == 16 and len(every & {"cat3.png", "cat3 (copy).png"}) == 1
    assert Counter(p.category for p in first) == {"cat": 2 * 7 * 6, "dog": 2 * 4 * 3}  # ordered, mirrored
    assert Counter(p.category for p in second) == {"cat": 3 * 2, "dog": 2}
    assert sum("mirrored" in p.source.key for p in first) == len(first) / 2
    assert made["lists"][str(train)] == {"pairs": 54, "pictures": 11, "classes": {"cat": 42, "dog": 12}}
    assert made["left_out"] == {"copies of another": 1}
    assert "without any pair: fish" in told
    again = tmp_path / "again" / "train.csv"
    make(folder, "-o", again, "--split", "0.7", "--flip")
    assert again.read_text() == train.read_text()
    make(folder, "-o", again, "--split", "0.7", "--flip", "--seed", "2")
    assert names(read_pairs(again)) != names(first)


def coco(tmp_path: Path) -> Path:
    """Four birds with a point missing in one, one with two birds, and one without any."""
    for i in range(6):
        write(tmp_path / "photos" / f"{i}.png", picture(i))
    points = [[5, 6, 2, 20, 10, 2, 30, 20, 1], [6, 7, 2, 21, 11, 2, 0, 0, 0]]
    of = [(0, 0), (1, 0), (2, 1), (3, 0), (4, 0), (4, 0)]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in range(6)],
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "eye", "tail"]}],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 1, "keypoints": points[which]}
            for n, (i, which) in enumerate(of)
        ],
    }
    path = tmp_path / "keypoints.json"
    path.write_text(json.dumps(content))
    return path


def test_lists_of_annotations_have_the_keypoints_of_both(tmp_path: Path) -> None:
    path = coco(tmp_path)
    out = tmp_path / "list.csv"
    made, _ = make(path, "--root", tmp_path / "photos", "-o", out)
    assert made["left_out"] == {"several things with keypoints": 1, "no keypoints": 1}
    pairs = read_pairs(out)
    assert len(pairs) == 4 * 3 and all(p.category == "bird" for p in pairs)
    for pair in pairs:
        partial = "2.png" in (Path(pair.source.key).name, Path(pair.target.key).name)
        assert pair.source_points is not None and len(pair.source_points) == (2 if partial else 3)
    pair = next(p for p in pairs if Path(p.source.key).name == "2.png")
    np.testing.assert_array_equal(pair.source_points, [[6, 7], [21, 11]])  # type: ignore[arg-type]
    np.testing.assert_array_equal(pair.target_points, [[5, 6], [20, 10]])  # type: ignore[arg-type]
    assert "--flip takes pictures without keypoints" in said(
        path, "--root", tmp_path / "photos", "-o", out, "--flip"
    )
    assert "does not exist; give the pictures' folder with --root" in said(path, "-o", out)


def test_lists_of_spairs_layout(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / "JPEGImages" / "cat" / f"{i}.png", picture(i))
        places = {"0": [4, 5], "1": None if i == 3 else [20, 9], "2": [9.5, 9]}
        file = tmp_path / "ImageAnnotation" / "cat" / f"{i}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"filename": f"{i}.png", "category": "cat", "kps": places}))
    out = tmp_path / "list.csv"
    make(tmp_path, "-o", out, "--per-class", "6")
    pairs = read_pairs(out)
    assert len(pairs) == 6 == len({frozenset((p.source.key, p.target.key)) for p in pairs})
    assert {len(p.source_points) for p in pairs if p.source_points is not None} == {2, 3}
    (tmp_path / "ImageAnnotation" / "cat" / "9.json").write_text("{}")
    assert "no annotation in SPair-71k's layout" in said(tmp_path, "-o", out)


def test_pictures_of_a_list_are_left_out_with_their_copies(folder: Path, tmp_path: Path) -> None:
    test, train = tmp_path / "test.csv", tmp_path / "train.csv"
    rows = "cat/cat3.png,cat/cat1.png,cat,0"  # of the two copies, the one that is not kept
    test.write_text(
        f"source_image,target_image,class,flip\n{folder}/{rows.replace(',cat/', f',{folder}/cat/')}\n"
    )
    made, _ = make(folder, "-o", train, "--without", test)
    assert names(read_pairs(train)).isdisjoint({"cat1.png", "cat3.png", "cat3 (copy).png"})
    assert made["left_out"]["in test.csv"] == 2 and len(names(read_pairs(train))) == 14
    assert "test.csv is also an input" in said(folder, "-o", test, "--without", test)
    assert "does not exist" in said(folder, "-o", train, "--without", tmp_path / "absent.csv")
    test.write_text("source_image,target_image,class,flip\ncat/a.png,cat/b.png,cat,0\n")
    assert f"names in {test} are relative to its folder" in said(folder, "-o", train, "--without", test)


def test_warps_of_pictures_have_their_true_matches(folder: Path, tmp_path: Path) -> None:
    """Where nothing changes but the view, the colours at both ends of a match are alike."""
    train, rest = tmp_path / "train.csv", tmp_path / "rest.csv"
    _, told = make(folder, "-o", train, "--split", "0.7", "--rest", rest)
    assert f"dcc data warps {rest} -o warped" in told
    done = CliRunner().invoke(
        command, ["data", "warps", str(rest), "-o", str(tmp_path / "w"), "--views", "2"]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.stdout == f"{tmp_path / 'w' / 'pairs.csv'}\n" and "10 pairs of 5 pictures" in done.stderr
    pairs = read_pairs(tmp_path / "w" / "pairs.csv")
    assert Counter(pair.category for pair in pairs) == {"cat": 6, "dog": 4}
    near, far = [], []
    for pair in pairs:
        assert pair.source_points is not None and pair.target_points is not None
        assert pair.source.load().shape == picture(0).shape and len(pair.source_points) > 4
        ends = [
            one.load()[tuple(np.rint(points[:, ::-1]).astype(int).T)].astype(float).mean(axis=1)
            for one, points in ((pair.source, pair.source_points), (pair.target, pair.target_points))
        ]
        near.append(np.corrcoef(*ends)[0, 1])
        far.append(np.corrcoef(ends[0], np.roll(ends[1], 1))[0, 1])
    assert np.median(near) > 0.6 > np.median(far) + 0.3
    again = CliRunner().invoke(command, ["data", "warps", str(rest), "-o", str(tmp_path / "w")])
    assert "already holds a list" in str(again.exception)
    done = CliRunner().invoke(
        command, ["data", "warps", str(folder), "-o", str(tmp_path / "v"), "--views", "1"]
    )
    assert len(read_pairs(tmp_path / "v" / "pairs.csv")) == 17


def test_what_makes_no_list_is_said(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "l.csv"
    assert "does not exist" in said(tmp_path / "absent", "-o", out)
    assert "a class is a folder" in said(folder / "cat", "-o", out)
    assert "a list is a .csv file" in said(folder, "-o", tmp_path / "l.txt")
    assert "give both" in said(folder, "-o", out, "--rest", tmp_path / "r.csv")
    assert "both lists are one file" in said(folder, "-o", out, "--split", "0.5", "--rest", out)
    (link := tmp_path / "link.csv").symlink_to(out)
    assert "both lists are one file" in said(folder, "-o", out, "--split", "0.5", "--rest", link)
    assert "--root goes with a file" in said(folder, "-o", out, "--root", folder)
    write(tmp_path / "one" / "cat" / "a.png", picture(1))
    assert f"there is no pair for {out}: a class needs two pictures" in said(tmp_path / "one", "-o", out)
    assert not out.exists()


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_choices_are_balanced_and_never_repeat(sizes: list[int], most: int, seed: int) -> None:
    photographs = [
        Photograph(Path(f"{category}/{i}"), str(category))
        for category, n in enumerate(sizes)
        for i in range(n)
    ]
    pairs = choose_pairs(photographs, most, seed, annotated=False)
    taken = Counter((p.source.file, p.target.file) for p in pairs)
    assert all(count == 1 for count in taken.values())
    assert all(p.source.category == p.target.category and p.source != p.target for p in pairs)
    for category, size in enumerate(sizes):
        of = [p for p in pairs if p.source.category == str(category)]
        assert len(of) == min(most, size * (size - 1))
        unordered = {frozenset((p.source.file, p.target.file)) for p in of}
        assert len(unordered) == min(len(of), size * (size - 1) // 2)  # exchanged pairs come last
        uses = Counter(one.file for p in of for one in p)
        if len(of) >= size:
            assert max(uses.values()) - min(uses.values()) <= 4


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.floats(0.05, 0.95), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_split_leaves_no_picture_on_both_sides(sizes: list[int], share: float, seed: int) -> None:
    photographs = [Photograph(Path(f"{c}/{i}"), str(c)) for c, n in enumerate(sizes) for i in range(n)]
    first, second = split_photographs(photographs, share, seed)
    assert len(first) + len(second) == len(photographs)
    assert {one.file for one in first}.isdisjoint(one.file for one in second)
    for category, size in enumerate(sizes):
        counts = [sum(one.category == str(category) for one in side) for side in (first, second)]
        assert size < 4 or min(counts) >= 2


def test_the_command_says_what_it_made(folder: Path, tmp_path: Path, dcc: Cli) -> None:
    done = dcc("data", "pairs", folder, "-o", "train.csv", "--per-class", "5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"train.csv: 10 pairs of \d+ pictures\n  cat 5, dog 5\n", done.stdout)
    assert "next: dcc train" in done.stderr
    assert len(read_pairs(tmp_path / "train.csv")) == 10
    one_sentence(dcc("data", "pairs", tmp_path / "absent", "-o", tmp_path / "x.csv"), 1, "does not exist")
