"""Lists of pairs: CSV and Parquet, read in pieces from anywhere."""

from __future__ import annotations

import csv
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dccnet.runtime.bulk import csv_list
from dccnet.runtime.bulk.listed import points_of
from dccnet.runtime.bulk.pair_list import open_list
from dccnet.runtime.bulk.window import window_of
from dccnet.runtime.errors import ArgumentError, DataError, DccError, UsageError

NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n,\"'"), max_size=8)


@given(rows=st.lists(st.tuples(NAME, NAME), min_size=1, max_size=12), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_piece_of_a_csv_has_the_rows_that_the_csv_module_reads(
    rows: list[tuple[str, str]], data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_list, "EVERY", 3)
    text = io.StringIO(newline="")
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["target", "source"])
    for row in rows:
        writer.writerow(row)
        text.write(data.draw(st.sampled_from(["", end])))  # empty lines are no pairs
    path = tmp_path / "pairs.csv"
    path.write_bytes(data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.getvalue().encode())
    found = open_list(path)
    assert found.rows == len(rows)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    read = [(row.target, row.source) for row in found.read(start, stop)]
    assert read == rows[start:stop]


def test_a_list_that_changed_is_refused_and_an_open_one_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("source_image,target_image,class\na,b,1\n")
    found = pickle.loads(pickle.dumps(open_list(path)))
    assert [row[:3] for row in found.read(0, 1)] == [("a", "b", None)]
    path.write_text("source_image,target_image,class\na,b,1\nc,d,1\n")
    with pytest.raises(DataError, match="has changed since the run began"):
        list(found.read(0, 1))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"source,target\n", "a list of pairs is a .csv or a .parquet file, not 'a.txt'"),
        ("a.csv", b"", r"has the columns \(none\); a list of pairs has one column source or source_image"),
        (
            "a.csv",
            b"source,class\na,b\n",
            "has the columns source, class; a list of pairs has one column t",
        ),
        ("a.csv", b"source,source_image,target\n", "one column source or source_image"),
        ("a.csv", b"source,target,points,points\n", "has the column points twice"),
        ("a.csv", b"source,target\n\n", "is empty"),
        ("a.csv", b"source,target\na,\xff\n", "is damaged, or no CSV file"),
        ("a.csv", b'source,target\n"a,b\n', "is damaged, or no CSV file"),
        ("a.csv", b"\0" * (17 << 20), "has a line of more than 16 MB"),
        ("a.parquet", b"source,target\n", "is damaged, or no Parquet file"),
    ],
)
def test_what_is_no_list_is_refused_in_a_sentence(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DccError, match=says):
        open_list(tmp_path / name)


def test_lists_that_are_no_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path, says in ((tmp_path / "pipe.csv", "is not a file"), (tmp_path / "x.csv", "does not exist")):
        with pytest.raises(DataError, match=says):
            open_list(path)
    with pytest.raises(UsageError, match="not 'folder'"):
        open_list(tmp_path / "folder")


def test_any_piece_of_a_parquet_list_has_its_rows(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    count, path = 23, tmp_path / "pairs.parquet"
    names = [f"{i}.jpg" for i in range(count)]
    points = [[[float(i), 1.0]] for i in range(count)]
    table = pa.table({"source": pa.array(names).dictionary_encode(), "target": names, "points": points})
    parquet.write_table(table, path, row_group_size=5)
    found = open_list(path)
    assert found.rows == count and found.has_points
    for start, stop in ((0, 23), (3, 4), (4, 11), (5, 10), (22, 23), (7, 7)):
        read = list(found.read(start, stop))
        assert [row.source for row in read] == names[start:stop]
        assert [row.points for row in read] == points[start:stop]
    parquet.write_table(pa.table({"source": [1], "target": ["b"]}), path)
    with pytest.raises(DataError, match=r"the column source of .* has the type int64: write it as text"):
        open_list(path)
    wrong = pa.array([b"a.jpg", b"\xff"]).view(
        pa.string()
    )  # not UTF-8, which Parquet's writer lets through
    parquet.write_table(pa.table({"source": wrong, "target": ["b", "b"]}), path)
    with pytest.raises(DataError, match="is damaged, or no Parquet file"):
        list(open_list(path).read(0, 2))


XY = np.array([[1, 2], [3.5, 4]])


@pytest.mark.parametrize("value", ["1,2; 3.5,4", XY.tolist(), XY, [{"x": 1, "y": 2}, {"x": 3.5, "y": 4}]])
def test_points_are_texts_or_rows(value: Any) -> None:
    np.testing.assert_array_equal(points_of(value), XY)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "the pair has no points"),
        ("", "the pair has no points"),
        ([], "the pair has no points"),
        ("1,2,3", "points must look like"),
        ("1,nan", "points must look like"),
        ([[1, 2, 3]], "points must have 2 columns"),
        ([{"x": 1}], "points must be rows"),
        (5, "points must be rows"),
    ],
)
def test_what_is_no_point_is_refused(value: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        points_of(value)


def test_rows_that_are_no_pairs_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("source,target\na,b\na,b,c\n,b\nb,a\n")
    window = window_of(10, open_list(path).read(0, 4), False)
    assert len(window) == 4 and window.names == ["a", "b", ""]
    assert list(window.problems) == [1, 2]
    assert window.problems[1].startswith("the row has 3 columns, the header 2")
    assert window.problems[2] == "the source has no name"
