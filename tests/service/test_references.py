"""Which references are kept: by size, by time, and by use."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.features import Features
from dccnet.service.references import Reference, References


def reference(nbytes: int) -> Reference:
    return Reference(Features({"local": np.zeros(nbytes, np.uint8)}, (1, 1)), b"")


def test_those_used_longest_ago_make_room_and_time_runs_from_the_last_use() -> None:
    now, removed = [0.0], list[str]()
    kept = References(100, 60, removed.append, lambda: now[0])
    first, second = kept.add(reference(40)), kept.add(reference(40))
    assert first and second and kept.get(first) is not None
    third = kept.add(reference(40))
    assert kept.get(second) is None and removed == ["size"] and kept.nbytes == 80
    now[0] = 59
    assert third and kept.get(first) is not None
    now[0] = 61
    assert kept.get(third) is None and removed == ["size", "expired"]
    assert kept.delete(first) and not kept.delete(first) and kept.nbytes == 0
    assert kept.add(reference(101)) is None and len(kept) == 0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 30)), max_size=40))
@settings(max_examples=50, deadline=None)
def test_never_more_than_the_limit_and_the_sum_is_right(steps: list[tuple[int, float]]) -> None:
    now = [0.0]
    kept, sizes = References(100, 60, clock=lambda: now[0]), dict[str, int]()
    for nbytes, pause in steps:
        now[0] += pause
        name = kept.add(reference(nbytes))
        assert name is not None
        sizes[name] = nbytes
        there = [size for each, size in sizes.items() if kept.get(each) is not None]
        assert kept.nbytes == sum(there) <= 100 and len(kept) == len(there)
