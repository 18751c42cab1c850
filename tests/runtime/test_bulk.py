"""Lists of many pairs: rows, bad pairs, bounded memory, runs that stop and continue, shards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime.bulk.job import Shard
from dccnet.runtime.bulk.matching import PairMatcher
from dccnet.runtime.errors import DccError, EngineError, UsageError
from dccnet.runtime.locks import output_lock
from dccnet.runtime.writers import match_lists
from tests.helpers.many_pairs import (
    LEVELS,
    CountingBackend,
    StoppedError,
    failures_of,
    job,
    rows_of,
    run_job,
    write_list,
)
from tests.helpers.streams import IdentityBackend, matcher_of

PAIRS = LEVELS * (LEVELS - 1)
BAD = [("absent.png", "1.png"), ("1.png", "torn.png"), ("1.png", ""), ("1.png", "2.png", "3.png")]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With pairs that fail."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    return write_list(folder, BAD)


@pytest.fixture(scope="module")
def whole(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run_job(job(pairs, folder))
    return folder


def test_rows_are_those_of_each_pair_alone_and_bad_pairs_are_set_aside(pairs: Path, whole: Path) -> None:
    lines = pairs.read_text().splitlines()[1:]
    matcher = matcher_of(IdentityBackend())
    found = rows_of(whole)
    assert len(found) == PAIRS and sorted({*found, *range(50, 54)}) == list(range(PAIRS + 4))
    for pair in (0, 49, 54, 100, PAIRS + 3):
        source, target = lines[pair].split(",")
        alone = matcher.match(pairs.parent / source, pairs.parent / target)
        assert found[pair] == {
            "schema": 1,
            "pair": pair,
            "source": source,
            "target": target,
            "size_a": list(alone.size_a),
            "size_b": list(alone.size_b),
            **match_lists(alone.mutual()),
            "mirrored": False,
            "model": "a model",
        }
    failed = failures_of(whole)
    assert [row["pair"] for row in failed] == [50, 51, 52, 53]
    for row, says in zip(
        failed, ("absent.png does not exist", "torn.png is", "has no name", "has 3 columns"), strict=True
    ):
        assert says in row["error"]
    assert failed[1]["target"] == "torn.png"


def test_features_in_memory_are_bounded_and_a_picture_is_encoded_once_where_all_fit(
    pairs: Path, tmp_path: Path
) -> None:
    few, many = CountingBackend(), CountingBackend()
    run_job(job(pairs, tmp_path / "few", room=5, batch=2), few)
    assert few.most_alive <= 5 + 2 * 2
    summary = run_job(job(pairs, tmp_path / "many", room=LEVELS), many)
    assert len(many.encoded) == summary.encoded == LEVELS < len(few.encoded)
    assert rows_of(tmp_path / "few") == rows_of(tmp_path / "many")


def test_pairs_are_matched_while_those_before_are_finished(
    pairs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, matches = CountingBackend(), PairMatcher._matches

    def patient(self: PairMatcher, *arguments: Any) -> Any:
        started = time.monotonic()
        while backend.matched < 2:  # the second pair is matched while the first one is finished
            assert time.monotonic() < started + 60, "the second pair waits for the first"
            time.sleep(0.001)
        return matches(self, *arguments)

    monkeypatch.setattr(PairMatcher, "_matches", patient)
    run_job(job(pairs, tmp_path), backend)
    assert rows_of(tmp_path) == rows_of(whole) and failures_of(tmp_path) == failures_of(whole)


def test_a_run_that_stops_three_times_has_the_same_rows(pairs: Path, whole: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    for stop_after in (15, 33, 40):
        with pytest.raises(StoppedError):
            run_job(job(pairs, tmp_path), CountingBackend(stop_after), on_note=notes.append)
    last = CountingBackend()
    summary = run_job(job(pairs, tmp_path), last, on_note=notes.append)
    assert rows_of(tmp_path) == rows_of(whole) and failures_of(tmp_path) == failures_of(whole)
    assert summary.failed == 4 and summary.matched == PAIRS
    assert notes[-1] == f"continuing: {summary.resumed} of {PAIRS + 4} pairs are done"
    assert last.matched <= PAIRS - summary.resumed + 4 < PAIRS
    again = CountingBackend()
    assert run_job(job(pairs, tmp_path), again).resumed == PAIRS + 4
    assert not again.encoded and rows_of(tmp_path) == rows_of(whole)


def test_what_a_kill_leaves_is_made_again(pairs: Path, whole: Path, tmp_path: Path) -> None:
    run_job(job(pairs, tmp_path))
    journal = tmp_path / "progress.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])  # a line that was being written
    (tmp_path / "matches" / "part-0000003.jsonl").unlink()
    (tmp_path / "matches" / ".dcc-abcd1234").mkdir()
    summary = run_job(job(pairs, tmp_path))
    assert 0 < summary.resumed < PAIRS and summary.matched == PAIRS
    assert rows_of(tmp_path) == rows_of(whole) and failures_of(tmp_path) == failures_of(whole)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"room": 6}, r"its pictures_in_cache is 5, not 6"),
        ({"part": 20, "window": 100}, "its window is 70, not 100, its pairs_in_a_file is 10, not 20"),
        ({"model": "other"}, "another model"),
        ({"pairs": "another"}, "another list"),
    ],
)
def test_another_run_in_the_folder_is_refused(
    change: dict[str, Any], says: str, pairs: Path, whole: Path, tmp_path: Path
) -> None:
    other = change | ({"pairs": write_list(tmp_path), "root": pairs.parent} if "pairs" in change else {})
    given = job(**({"pairs": pairs, "output": whole} | other))
    before = rows_of(whole)
    with pytest.raises(UsageError, match=rf"holds another run \(.*{says}.*start again with --restart"):
        run_job(given)
    assert rows_of(whole) == before


def test_results_without_a_journal_are_not_mixed_with_others(pairs: Path, tmp_path: Path) -> None:
    run_job(job(pairs, tmp_path))
    (tmp_path / "progress.jsonl").unlink()
    with pytest.raises(UsageError, match="holds results of a run that left no progress"):
        run_job(job(pairs, tmp_path))
    (tmp_path / "matches" / "mine.txt").write_text("the user's")
    (tmp_path / "errors.parquet").write_text("of an earlier run in another format")
    run_job(job(pairs, tmp_path, part=50), restart=True)
    assert len(rows_of(tmp_path)) == PAIRS
    assert (tmp_path / "matches" / "mine.txt").exists()
    assert not (tmp_path / "errors.parquet").exists()


def test_a_second_process_in_the_folder_is_refused(pairs: Path, tmp_path: Path) -> None:
    with output_lock(tmp_path), pytest.raises(DccError, match="another process is writing to"):
        run_job(job(pairs, tmp_path))


def test_a_backend_that_fails_ends_the_run_and_a_result_that_fails_is_one_bad_pair(
    pairs: Path, tmp_path: Path
) -> None:
    class Sometimes(CountingBackend):
        def match(self, *inputs: Any) -> Any:
            outputs = super().match(*inputs)
            if self.matched == 7:
                outputs["score_a"][0] = np.nan
            if self.matched == 100:
                raise EngineError("the device was lost")
            return outputs

    with pytest.raises(EngineError, match="the device was lost"):
        run_job(job(pairs, tmp_path), Sometimes())
    assert run_job(job(pairs, tmp_path)).failed == 5
    assert any("not finite" in row["error"] for row in failures_of(tmp_path))


def test_shards_together_are_the_list(pairs: Path, whole: Path, tmp_path: Path) -> None:
    for number in range(1, 8):
        run_job(job(pairs, tmp_path, shard=Shard(number, 7)))
    assert rows_of(tmp_path) == rows_of(whole)
    assert sum(len(failures_of(folder)) for folder in tmp_path.glob("shard-*-of-7")) == 4
    for text in ("0/3", "4/3", "3", "a/b", "1/0"):
        with pytest.raises(UsageError, match="a shard is one of 1/100 to 100/100"):
            Shard.parse(text)
    assert Shard.parse("3/100").folder(Path("out")) == Path("out/shard-003-of-100")


def test_points_of_each_pair_are_transferred(tmp_path: Path) -> None:
    rows = [("1.png", "2.png", '"4,5;6.5,7"'), ("1.png", "2.png", '"4,500"'), ("1.png", "2.png", "")]
    path = write_list(tmp_path)
    path.write_text("source,target,points\n" + "".join(",".join(row) + "\n" for row in rows))
    summary = run_job(job(path, tmp_path / "out"))
    assert (summary.matched, summary.failed) == (1, 2)
    (row,) = rows_of(tmp_path / "out").values()
    alone = matcher_of(IdentityBackend()).match(tmp_path / "1.png", tmp_path / "2.png")
    expected = match_lists(alone.carry([[4, 5], [6.5, 7]], "a"))
    assert {name: row[name] for name in expected} == expected
    outside, empty = failures_of(tmp_path / "out")
    assert outside["error"].startswith("the point 4,500 lies outside the 40x31 picture")
    assert empty["error"].startswith("the pair has no points")


def test_parquet_has_the_values_of_the_json_lines(pairs: Path, whole: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_job(job(pairs, tmp_path, form="parquet"))
    table = parquet.read_table(tmp_path / "matches")
    assert json.loads(table.schema.metadata[b"dcc"])["schema"] == 1
    expected = rows_of(whole)
    for row in table.to_pylist():
        one = expected.pop(row["pair"])
        sizes = [row[f"{side}_{axis}"] for side in ("source", "target") for axis in ("height", "width")]
        assert sizes == one["size_a"] + one["size_b"]
        assert (row["source"], row["target"], row["model"]) == (one["source"], one["target"], one["model"])
        np.testing.assert_allclose(np.stack([row["x_a"], row["y_a"]], axis=1), one["points_a"], atol=1e-3)
        np.testing.assert_allclose(np.stack([row["x_b"], row["y_b"]], axis=1), one["points_b"], atol=1e-3)
        np.testing.assert_allclose(row["score"], one["scores"], rtol=1e-5)
        assert row["confidence"] is None and row["seconds"] > 0
    assert not expected
    errors = parquet.read_table(tmp_path / "errors.parquet").to_pylist()
    assert sorted(errors, key=lambda row: int(row["pair"])) == failures_of(whole)
