"""Match many pairs that share pictures: a picture is encoded once, while its features fit in memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Union

from dccnet.runtime.batching import encode_views, match_each
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, ImageError
from dccnet.runtime.features import Features
from dccnet.runtime.given_pictures import GivenPicture, as_image
from dccnet.runtime.views.view import View
from dccnet.runtime.views.ways import AskedPair, SeenPicture, see

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

Picture = Union[GivenPicture, Features]  # noqa: UP007 (Python 3.10 evaluates it)
"""An array, a file, a picture of PIL, or features. The same object or path is the same picture."""
Pair = tuple[Picture, Picture]


def match_many(
    matcher: Matcher,
    pairs: Iterable[Pair],
    batch: int = 1,
    cache_bytes: int = 1 << 30,
    on_error: Callable[[int, ImageError], None] | None = None,
) -> Iterator[Correspondences]:
    """See ``Matcher.match_many``. Takes ``batch`` pairs at a time from ``pairs``."""
    if batch < 1:
        raise ArgumentError(f"a batch contains at least one pair, not {batch}")
    cache = _Cache(matcher, batch, cache_bytes)
    numbered = enumerate(pairs)
    while group := list(islice(numbered, batch)):
        keyed = [(number, (_Keyed(a), _Keyed(b))) for number, (a, b) in group]
        failed = cache.encode([pair for _, pair in keyed])
        whole = []
        for number, (first, second) in keyed:
            error = failed.get(first.key) or failed.get(second.key)
            if error is None:
                whole.append(AskedPair(cache.features(first), cache.features(second), matcher.ways))
            elif on_error is None:
                raise error
            else:
                on_error(number, error)
        cache.shrink()
        yield from (result() for result in match_each(matcher, whole, batch))


class _Keyed:
    """A picture and its key in the cache, which for a path takes a look at the disk."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.key: Hashable = (
            Path(picture).resolve() if isinstance(picture, (str, os.PathLike)) else id(picture)
        )


class _Entry(NamedTuple):
    features: Features
    picture: Picture
    """Kept, because another array may get the identity of one that is freed."""
    nbytes: int


class _Cache:
    """Features of the pictures that were used last, within a number of bytes."""

    def __init__(self, matcher: Matcher, batch: int, limit: int) -> None:
        self._matcher, self._batch, self._limit = matcher, batch, limit
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0

    def features(self, keyed: _Keyed) -> Features:
        picture = keyed.picture
        return picture if isinstance(picture, Features) else self._entries[keyed.key].features

    def encode(self, pairs: Sequence[tuple[_Keyed, _Keyed]]) -> dict[Hashable, ImageError]:
        """Encode the views of pictures whose features are not there; returns the errors of those pictures
        that cannot be encoded."""
        failed: dict[Hashable, ImageError] = {}
        new: dict[Hashable, tuple[Picture, int, SeenPicture]] = {}
        ways, frames = self._matcher.ways, self._matcher.manifest.frames
        needed: dict[Hashable, set[View]] = {}
        for pair in pairs:
            for keyed, views in zip(pair, (ways.source, ways.target), strict=True):
                needed.setdefault(keyed.key, set()).update(views)
        for keyed in (keyed for pair in pairs for keyed in pair):
            picture, key = keyed.picture, keyed.key
            if key in self._entries:
                self._entries.move_to_end(key)
            missing = [view for view in ways.source if view in needed[key] and not self._has(key, view)]
            if isinstance(picture, Features) or key in new or key in failed or not missing:
                continue
            try:
                image = as_image(picture)
            except ImageError as error:
                failed[key] = error
                continue
            kept = 0 if isinstance(picture, (str, os.PathLike)) else image.nbytes
            new[key] = (picture, kept, see(image, missing, frames))
        seen = [one.frames for _, _, one in new.values()]
        encoded = encode_views(self._matcher.backend, seen, self._batch)
        for (key, (picture, kept, one)), tensors in zip(new.items(), encoded, strict=True):
            before = self._entries.pop(key, None)
            known = {} if before is None else before.features.views
            features = Features.of_views(known | tensors, one.size)
            nbytes = features.nbytes + kept
            self._entries[key] = _Entry(features, picture, nbytes)
            self._bytes += nbytes - (0 if before is None else before.nbytes)
        return failed

    def _has(self, key: Hashable, view: View) -> bool:
        return key in self._entries and self._entries[key].features.has([view])

    def shrink(self) -> None:
        """Release the features that were used longest ago, until the others are within the limit."""
        while self._bytes > self._limit:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes
