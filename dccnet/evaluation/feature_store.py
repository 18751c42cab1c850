"""Features of pictures in memory. The order of their use is known, which decides what to keep."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from dccnet.evaluation.pairs import Picture
from dccnet.runtime.arrays import Image

F = TypeVar("F")
NEVER = 1 << 62


class FeatureStore(Generic[F]):
    """Keeps features until their last use, in at most ``budget`` bytes.

    Above the budget it drops the features whose next use is furthest away (Belady's algorithm) and computes
    them again when they are needed.
    """

    def __init__(
        self,
        encode: Callable[[Image], F],
        nbytes: Callable[[F], int],
        turns: Iterable[tuple[Picture, Picture]],
        budget: int,
        encode_target: Callable[[Image], F] | None = None,
    ) -> None:
        """``encode_target`` is for pictures that are a source, the first of two, in no turn; by default,
        ``encode``."""
        self._encode, self._nbytes, self._budget = encode, nbytes, budget
        self._encode_target = encode_target or encode
        self._uses: dict[str, deque[int]] = {}
        self._sources: set[str] = set()
        for turn, pictures in enumerate(turns):
            self._sources.add(pictures[0].key)
            for key in {picture.key for picture in pictures}:
                self._uses.setdefault(key, deque()).append(turn)
        self._kept: dict[str, F] = {}
        self._bytes = 0
        self.largest = 0
        """Peak size in bytes."""
        self.encoded = 0
        """Encoded pictures so far; a picture that is encoded twice counts twice."""

    @property
    def pictures(self) -> int:
        """Number of different pictures in all turns."""
        return len(self._uses)

    def take(self, turn: int, pictures: tuple[Picture, Picture]) -> tuple[F, F]:
        """Features of both pictures of a turn; turns must be taken in order."""
        keys = {picture.key for picture in pictures}
        features = {picture.key: self._features(picture, keys) for picture in pictures}
        for key in keys:
            uses = self._uses[key]
            while uses and uses[0] <= turn:
                uses.popleft()
            if not uses:
                self._drop(key)
        return features[pictures[0].key], features[pictures[1].key]

    def _features(self, picture: Picture, in_use: set[str]) -> F:
        kept = self._kept.get(picture.key)
        if kept is not None:
            return kept
        encode = self._encode if picture.key in self._sources else self._encode_target
        features = encode(picture.load())
        self.encoded += 1
        self._kept[picture.key] = features
        self._bytes += self._nbytes(features)
        self.largest = max(self.largest, self._bytes)
        while self._bytes > self._budget and len(self._kept) > len(in_use):
            self._drop(max(self._kept.keys() - in_use, key=self._next_use))
        return features

    def _next_use(self, key: str) -> int:
        uses = self._uses[key]
        return uses[0] if uses else NEVER

    def _drop(self, key: str) -> None:
        features = self._kept.pop(key, None)
        if features is not None:
            self._bytes -= self._nbytes(features)
