"""Match many pairs that share pictures: each picture is encoded once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.batching import encode_all, match_all
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError
from dccnet.runtime.features import Features, check_image
from dccnet.runtime.geometry import resize_uint8
from dccnet.runtime.images import read_image

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

Picture = Union[Image, Features, str, "os.PathLike[str]"]
"""An array, its features, or a file. The same array object or the same path is the same picture."""


def match_many(
    matcher: Matcher, pairs: Iterable[tuple[Picture, Picture]], batch: int = 1
) -> Iterator[Correspondences]:
    """See ``Matcher.match_many``. Features are released after the last pair that needs them."""
    if batch < 1:
        raise ArgumentError(f"a batch contains at least one pair, not {batch}")
    all_pairs = list(pairs)
    uses_left = Counter(_key(picture) for pair in all_pairs for picture in pair)
    encoded: dict[Hashable, Features] = {}
    for start in range(0, len(all_pairs), batch):
        group = all_pairs[start : start + batch]
        _encode_new(matcher, {_key(p): p for pair in group for p in pair}, encoded, batch)
        features = [(encoded[_key(a)], encoded[_key(b)]) for a, b in group]
        outputs = match_all(matcher.backend, [(a.tensors, b.tensors) for a, b in features], batch)
        for pair in group:
            for picture in pair:
                uses_left[_key(picture)] -= 1
                if not uses_left[_key(picture)]:
                    encoded.pop(_key(picture), None)
        for (a, b), output in zip(features, outputs, strict=True):
            yield matcher.correspondences(a.size, b.size, output)


def _encode_new(
    matcher: Matcher, pictures: dict[Hashable, Picture], encoded: dict[Hashable, Features], batch: int
) -> None:
    """Add the features of those ``pictures`` that are not in ``encoded`` yet."""
    keys, frames, sizes = [], [], []
    for key, picture in pictures.items():
        if key in encoded:
            continue
        if isinstance(picture, Features):
            encoded[key] = picture
            continue
        image = picture if isinstance(picture, np.ndarray) else read_image(picture)
        check_image(image)
        keys.append(key)
        frames.append(resize_uint8(image, matcher.manifest.image_size))
        sizes.append((image.shape[0], image.shape[1]))
    tensors = encode_all(matcher.backend, frames, batch)
    encoded.update((key, Features(t, size)) for key, t, size in zip(keys, tensors, sizes, strict=True))


def _key(picture: Picture) -> Hashable:
    return Path(picture).resolve() if isinstance(picture, (str, os.PathLike)) else id(picture)
