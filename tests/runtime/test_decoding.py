"""The decoder of JSON files: what it accepts, and the paths in its messages."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dccnet.runtime.decoding import DecodingError, decode


@dataclass(frozen=True, slots=True)
class Leaf:
    opset: int
    share: float = 1.0
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.opset < 0:
            raise ValueError("a negative opset")


@dataclass(frozen=True, slots=True)
class Tree:
    graphs: dict[str, Leaf]
    size: tuple[int, int]
    names: tuple[str, ...] = ()
    shape: tuple[int | str, ...] = ()
    leaf: Leaf | None = None
    extra: dict[str, Any] = field(default_factory=dict)


LEAVES = st.builds(Leaf, st.integers(0, 99), st.floats(0, 1), st.sampled_from(["a", "b"]))
TREES = st.builds(
    Tree,
    st.dictionaries(st.text(max_size=3), LEAVES, max_size=3),
    st.tuples(st.integers(), st.integers()),
    st.lists(st.text(max_size=3)).map(tuple),
    st.lists(st.integers() | st.text(max_size=3)).map(tuple),
    st.none() | LEAVES,
    st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.lists(st.integers())),
)


@given(TREES)
def test_what_was_encoded_is_decoded_unchanged(tree: Tree) -> None:
    assert decode(Tree, json.loads(json.dumps(dataclasses.asdict(tree)))) == tree


FINE: dict[str, Any] = {"graphs": {"encoder": {"opset": 3}}, "size": [4, 5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graphs": {"encoder": {"opset": "3"}}}, "graphs.encoder.opset must be int, got str"),
        ({"graphs": {"encoder": {"opset": True}}}, "graphs.encoder.opset must be int, got bool"),
        ({"graphs": {"encoder": {"opset": 3.0}}}, "graphs.encoder.opset must be int, got float"),
        ({"graphs": {"encoder": {"opset": -1}}}, "graphs.encoder: a negative opset"),
        ({"graphs": {"encoder": {}}}, "graphs.encoder.opset is missing"),
        ({"graphs": {"encoder": {"opset": 3, "colour": 1}}}, "graphs.encoder.colour is unknown"),
        ({"graphs": {"encoder": {"opset": 3, "kind": "c"}}}, "graphs.encoder.kind must be one of a, b"),
        ({"graphs": []}, "graphs must be an object, got list"),
        ({"size": [4]}, "size must have 2 items, got 1"),
        ({"size": [4, None]}, r"size\[1\] must be int, got NoneType"),
        ({"size": "45"}, "size must be a list, got str"),
        ({"shape": [1, [2]]}, r"shape\[1\] must be int or str, got list"),
        ({"leaf": 3}, "leaf must be an object, got int"),
    ],
)
def test_the_message_starts_with_the_path_of_the_wrong_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodingError, match=message):
        decode(Tree, FINE | change)
    assert decode(Tree, FINE).graphs["encoder"] == Leaf(3)


def test_whole_numbers_are_floats_too_and_the_top_level_has_a_name() -> None:
    assert decode(Leaf, {"opset": 1, "share": 1}).share == 1.0
    with pytest.raises(DecodingError, match="the content must be an object, got list"):
        decode(Tree, [])
