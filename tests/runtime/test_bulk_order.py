"""The order of many pairs, and which features are kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.bulk.kept import KeptFeatures
from dccnet.runtime.bulk.order import Ints, cuthill_mckee, next_uses, order_pairs
from dccnet.runtime.features import Features

Pairs = tuple[Ints, Ints]
FEATURES = cast(Features, None)


def numbered(pairs: list[tuple[int, int]]) -> Pairs:
    """Pictures numbered by their first appearance, as windows do."""
    numbers: dict[int, int] = {}
    flat = [numbers.setdefault(picture, len(numbers)) for pair in pairs for picture in pair]
    both = np.array(flat, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=60).map(numbered)


def encodings(kept: KeptFeatures, a: Ints, b: Ints, batch: int = 1) -> int:
    """How many pictures are encoded for these pairs."""
    names = [str(number) for number in range(int(max(a.max(), b.max())) + 1)]
    kept.follow(names, a, b)
    count = 0
    for start in range(0, len(a), batch):
        places = range(start, min(start + batch, len(a)))
        new = dict.fromkeys(kept.coming(places))
        for name in new:
            kept.put(name, FEATURES)
        count += len(new)
        assert all(name in kept for place in places for name in kept.pair(place))
        kept.used(places)
        kept.shrink()
        assert len(kept) <= kept.room
    return count


def least_recently_used(room: int, a: Ints, b: Ints) -> int:
    there: OrderedDict[int, None] = OrderedDict()
    count = 0
    for pair in zip(a.tolist(), b.tolist(), strict=True):
        for picture in dict.fromkeys(pair):
            count += picture not in there
            there[picture] = None
            there.move_to_end(picture)
        while len(there) > room:
            there.popitem(last=False)
    return count


@given(pairs=PAIRS, room=st.integers(2, 15))
@settings(max_examples=100, deadline=None)
def test_every_pair_comes_once_and_the_farthest_use_makes_room(pairs: Pairs, room: int) -> None:
    a, b = pairs
    order = order_pairs(a, b, room)
    assert sorted(order.tolist()) == list(range(len(a)))
    if len(a) and max(a.max(), b.max()) < room:
        assert order.tolist() == list(range(len(a)))
    if len(a):
        found = encodings(KeptFeatures(room), a[order], b[order])
        assert len(set(a.tolist() + b.tolist())) <= found <= least_recently_used(room, a[order], b[order])


@given(pairs=PAIRS)
@settings(max_examples=100, deadline=None)
def test_ranks_are_a_permutation_and_next_uses_are_the_next(pairs: Pairs) -> None:
    a, b = pairs
    count = int(max(a.max(), b.max())) + 1 if len(a) else 0
    assert sorted(cuthill_mckee(a, b, count).tolist()) == list(range(count))
    for side, following in zip((a, b), next_uses(a, b), strict=True):
        for place, picture in enumerate(side.tolist()):
            later = [p for p in range(place + 1, len(a)) if picture in (a[p], b[p])]
            assert following[place] == (later[0] if later else len(a))


def test_groups_in_any_order_are_encoded_once_where_two_of_them_fit() -> None:
    rng = np.random.default_rng(1)
    pairs = [(20 * group + i, 20 * group + j) for group in range(30) for i in range(20) for j in range(i)]
    a, b = numbered([pairs[i] for i in rng.permutation(len(pairs))])
    order = order_pairs(a, b, 40)
    assert encodings(KeptFeatures(40), a[order], b[order], batch=4) == 600
    assert encodings(KeptFeatures(40), a, b, batch=4) > 6000


def test_random_pairs_are_encoded_little_more_than_once_where_most_fit() -> None:
    a, b = numbered(np.random.default_rng(1).integers(0, 200, (10_000, 2)).tolist())
    for room, most in ((200, 1.0), (170, 1.2), (100, 1.6), (50, 2.6)):
        order = order_pairs(a, b, room)
        assert encodings(KeptFeatures(room), a[order], b[order]) <= most * 200


def test_one_picture_with_all_others_stays() -> None:
    a, b = numbered([(0, i) for i in range(1, 500)])
    order = order_pairs(a, b, 4)
    assert encodings(KeptFeatures(4), a[order], b[order], batch=2) == 500


def test_features_are_kept_for_the_next_window() -> None:
    kept, pairs = KeptFeatures(3), numbered([(0, 1), (1, 2)])
    assert encodings(kept, *pairs) == 3
    assert encodings(kept, *pairs) == 0
