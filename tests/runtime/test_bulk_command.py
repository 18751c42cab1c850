"""``dcc match --pairs``."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dccnet.cli import dcc as command
from dccnet.runtime.bulk.match_pairs import match_pairs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import install
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from tests.helpers.commands import Cli
from tests.helpers.many_pairs import rows_of


@pytest.fixture(scope="module")
def photo_pairs(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "pairs.csv"
    rows = [f"{a.name},{b.name}\n" for a, b in itertools.permutations(pictures, 2)]
    path.write_text("source,target\n" + "".join(rows))
    return path


def called(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["match", *map(str, arguments)])


def test_the_command_matches_a_list_with_a_bundle(
    bundle: Bundle, photo_pairs: Path, pictures: list[Path], tmp_path: Path
) -> None:
    given = (bundle.path, "--pairs", photo_pairs, "--root", pictures[0].parent, "-o", tmp_path / "out")
    done = called(*given, "--format", "jsonl", "--json", "--batch", 2)
    assert done.exit_code == 0, done.output
    summary = json.loads(next(line for line in done.output.splitlines() if line.startswith("{")))
    assert summary["matched"] == 6 and summary["encoded"] == 3 and summary["failed"] == 0
    assert "6 of 6 pairs matched, 6 now" in done.output
    matcher = Matcher.open(bundle)
    first = matcher.match(read_image(pictures[0]), read_image(pictures[1])).mutual()
    row = rows_of(tmp_path / "out")[0]
    np.testing.assert_allclose(row["points_b"], first.points_b, atol=0.01)  # a batch rounds differently
    np.testing.assert_allclose(row["scores"], first.scores, rtol=1e-4)
    assert row["model"] == summary["model"]
    again = match_pairs(matcher, photo_pairs, tmp_path / "out", root=pictures[0].parent, form="jsonl")
    assert again.resumed == 6


def test_sources_are_mirrored_as_those_of_a_pair(
    bundle: Bundle, photo_pairs: Path, pictures: list[Path], tmp_path: Path
) -> None:
    matcher = Matcher.open(bundle, mirror="auto")
    match_pairs(matcher, photo_pairs, tmp_path, root=pictures[0].parent, form="jsonl", cache_gb=0.01)
    (row, *_) = rows_of(tmp_path).values()
    alone = matcher.match(pictures[0], pictures[1])
    assert row["mirrored"] == alone.mirrored
    np.testing.assert_allclose(row["points_b"], alone.mutual().points_b, atol=0.01)


def test_the_command_ends_with_1_after_bad_pairs(
    dcc: Cli, photo_pairs: Path, pictures: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"source,target\n{pictures[0]},{pictures[1]}\nabsent.jpg,{pictures[0]}\n")
    done = dcc("match", "--pairs", path, "-o", tmp_path / "out", "--format", "jsonl")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        f"dcc: 1 pair of 2 failed; {tmp_path}/out/errors.jsonl says why; the others are done"
    )
    assert len(rows_of(tmp_path / "out")) == 1


def test_wrong_uses_are_told_before_the_model_is_loaded(
    photo_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_arguments: object, **_options: object) -> Matcher:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Matcher, "open", opened)
    given, jsonl = ("--pairs", photo_pairs, "-o", tmp_path / "out"), ("--format", "jsonl")
    for arguments, says in (
        (given[:2], "--pairs needs one -o that names a folder"),
        ((*given[:2], "-o", "matches.csv"), "--pairs needs one -o that names a folder"),
        ((*given, "a.jpg", "b.jpg"), "with --pairs, the list names the pictures"),
        ((*given, "--points", "1,2"), "with --pairs nothing is drawn, and points are in the list"),
        ((*given, "--smooth"), "--smooth goes with --video"),
        (("a.jpg", "b.jpg", "--shard", "1/2"), "--shard goes with --pairs"),
        ((*given, *jsonl, "--shard", "2/1"), "a shard is one of"),
        ((*given, *jsonl, "--cache-gb", "0"), "the pictures of one batch do not fit into 0 GiB"),
        (
            (*given, *jsonl, "--root", "nowhere"),
            "nowhere, where the list's pictures are to be, is no folder",
        ),
        (("--pairs", "absent.csv", "-o", tmp_path, *jsonl), "the list of pairs absent.csv does not exist"),
    ):
        error = called(*arguments).exception
        assert isinstance(error, DccError) and str(error).startswith(says), error
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = called(*given).exception
    assert isinstance(error, DccError)
    assert str(error) == f"Parquet needs pyarrow: {install('parquet')}"
    assert not (tmp_path / "out").exists()
