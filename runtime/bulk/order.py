"""The order of pairs in which a picture is encoded few times, with room for the features of some."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def order_pairs(a: Ints, b: Ints, room: int) -> Ints:
    """``(N,)``: the numbers of N pairs in the order in which they are matched.

    ``a`` and ``b`` are ``(N,)``: the pictures of each pair, numbered from 0 without gaps. ``room`` is how
    many pictures' features are kept. The list's own order stays where all of them fit. Otherwise pictures
    are ranked so that those of one group lie together, and cut into stripes that fit; the pairs of a stripe
    come together, by their other picture, which is then encoded once for each stripe.
    """
    count = int(max(a.max(), b.max())) + 1 if len(a) else 0
    if count <= room:
        return np.arange(len(a))
    rank = cuthill_mckee(a, b, count)
    low, high = np.minimum(rank[a], rank[b]), np.maximum(rank[a], rank[b])
    stripe = low // max(1, room * 15 // 16)  # the rest is for the other pictures, which come and go
    return np.lexsort((low, high, stripe))


def cuthill_mckee(a: Ints, b: Ints, count: int) -> Ints:
    """``(count,)``: rank of each picture, breadth-first along pairs (Cuthill and McKee, 1969).

    It puts pictures that are matched with each other near each other, whatever the order of the list.
    """
    ends, others = np.concatenate([a, b]), np.concatenate([b, a])
    by_end = np.lexsort((others, ends))
    neighbours = others[by_end]
    begin = np.searchsorted(ends[by_end], np.arange(count + 1))
    rank = np.full(count, -1, np.int64)
    ranked = 0
    for start in range(count):  # a group that no pair connects with those before
        if rank[start] >= 0:
            continue
        rank[start], ranked = ranked, ranked + 1
        queue = deque([start])
        while queue:
            picture = queue.popleft()
            near = neighbours[begin[picture] : begin[picture + 1]]
            new = np.unique(near[rank[near] < 0])
            rank[new] = np.arange(ranked, ranked + len(new))
            ranked += len(new)
            queue.extend(new.tolist())
    return rank


def next_uses(a: Ints, b: Ints) -> tuple[list[int], list[int]]:
    """For each pair, where its picture A and its picture B are next used: numbers of later pairs.

    The number of pairs stands for never.
    """
    pairs = len(a)
    pictures = np.stack([a, b], axis=1).ravel()
    places = np.repeat(np.arange(pairs), 2)
    order = np.lexsort((places, pictures))
    following = np.full(2 * pairs, pairs, np.int64)
    same = pictures[order[1:]] == pictures[order[:-1]]
    following[order[:-1][same]] = places[order[1:][same]]
    own = a == b  # a picture matched with itself: its next use is that of its second place
    following[0::2][own] = following[1::2][own]
    return following[0::2].tolist(), following[1::2].tolist()
