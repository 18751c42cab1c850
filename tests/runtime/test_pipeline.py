"""Threads between stages: order, errors, and how they end."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.video.pipeline import Background, Channel, StalledError, close_all
from dccnet.runtime.video.timing import Durations
from tests.helpers.streams import stage_threads


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(), max_size=50), st.integers(1, 4), st.integers(1, 3))
def test_everything_arrives_in_order(items: list[int], depth: int, stages: int) -> None:
    source: Iterator[int] = iter(items)
    for _ in range(stages):
        source = Background(source, depth)
    assert list(source) == items
    assert not stage_threads()


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def three() -> Iterator[int]:
        yield from range(3)
        raise ValueError("four")

    stage = Background(Background(three()))
    assert [next(stage) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="four"):
        next(stage)
    assert list(stage) == [] and not stage_threads()


def test_no_more_items_are_produced_than_fit_the_queue() -> None:
    made = []
    stage = Background((made.append(i) or i for i in itertools.count()), depth=3)
    assert next(stage) == 0
    while len(made) < 4:
        pass
    stage.close()
    assert len(made) == 4  # one taken, three waiting


def test_close_and_garbage_collection_end_the_thread_and_the_generator() -> None:
    ended = []

    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.append(threading.current_thread().name)

    stage = Background(endless())
    next(stage)
    stage.close()
    stage.close()
    abandoned = Background(endless())
    next(abandoned)
    del abandoned
    gc.collect()
    assert ended == ["dcc-stage"] * 2 and not stage_threads()


def test_stages_that_wait_for_each_other_are_closed_together() -> None:
    forever = threading.Event()

    def nothing() -> Iterator[int]:
        forever.wait(30)
        yield 0

    first = Background(nothing())
    second = Background(first)
    closing = threading.Thread(target=close_all, args=([first, second],))
    closing.start()
    forever.set()
    closing.join(30)
    assert not closing.is_alive() and not stage_threads()


def test_the_newest_item_is_kept_and_the_others_are_counted() -> None:
    channel: Channel[int] = Channel(1, newest=True)
    for i in range(5):
        channel.put(i)
    assert channel.take() == 4 and channel.dropped == 4
    channel.put(5)
    channel.end()
    assert channel.take() == 5
    with pytest.raises(StopIteration):
        channel.take()


def test_no_item_within_the_timeout_is_a_stall() -> None:
    with pytest.raises(StalledError):
        Channel(1).take(timeout=0.01)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200), st.floats(0.01, 1))
def test_quantiles_are_right_to_a_few_percent(seconds: list[float], share: float) -> None:
    durations = Durations()
    for value in seconds:
        durations.add(value)
    exact = sorted(seconds)[max(int(-(-share * len(seconds) // 1)) - 1, 0)]
    assert durations.quantile(share) == pytest.approx(exact, rel=0.025)
    assert durations.total_s == pytest.approx(sum(seconds))
