"""Features of pictures whose next use is known: the one that is needed last makes room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dccnet.runtime.bulk.order import Ints, next_uses
from dccnet.runtime.features import Features


class KeptFeatures:
    """Features by name of the picture, for at most ``room`` pictures.

    Where another one needs room, the picture goes whose next use is farthest away (Bélády, 1966), which no
    other rule encodes fewer pictures with. What is left of earlier pairs stays for later ones.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._features: dict[str, Features] = {}
        self._next: dict[str, float] = {}
        self._names: Sequence[str] = ()
        self._a: list[int] = []
        self._b: list[int] = []
        self._after_a: list[int] = []
        self._after_b: list[int] = []

    def __contains__(self, name: str) -> bool:
        return name in self._features

    def __getitem__(self, name: str) -> Features:
        return self._features[name]

    def __len__(self) -> int:
        return len(self._features)

    def follow(self, names: Sequence[str], a: Ints, b: Ints) -> None:
        """The pairs that come next, in their order: ``(N,)`` numbers into ``names`` for each side."""
        self._names = names
        self._a, self._b = a.tolist(), b.tolist()
        self._after_a, self._after_b = next_uses(a, b)
        first: dict[int, int] = {}
        for place, pair in enumerate(zip(self._a, self._b, strict=True)):
            for picture in pair:
                first.setdefault(picture, place)
        uses = {names[picture]: place for picture, place in first.items()}
        self._next = {name: uses.get(name, float("inf")) for name in self._features}

    def pair(self, place: int) -> tuple[str, str]:
        """Names of the pictures of the pair at ``place``."""
        return self._names[self._a[place]], self._names[self._b[place]]

    def used(self, places: range) -> None:
        """Note that the pairs at ``places`` are matched next, all at once."""
        for place in places:
            a, b = self.pair(place)
            self._next[a], self._next[b] = self._after_a[place], self._after_b[place]

    def put(self, name: str, features: Features) -> None:
        """Keep the features of a picture of the pairs that were noted last."""
        self._features[name] = features

    def shrink(self) -> None:
        """Release features until the others have room; after the pairs that were noted last."""
        while len(self._features) > self.room:
            farthest = max(self._features, key=self._next.__getitem__)
            del self._features[farthest], self._next[farthest]

    def coming(self, places: range) -> Iterator[str]:
        """Pictures of the pairs at ``places`` that are not there, in their order."""
        for place in places:
            for name in self.pair(place):
                if name not in self._features:
                    yield name
