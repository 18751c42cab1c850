"""Many pairs, of which several share pictures: each picture is encoded once."""

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
    """See ``Matcher.match_many``. Features are forgotten after their last pair."""
    every = list(pairs)
    uses = Counter(_key(picture) for pair in every for picture in pair)
    known: dict[Hashable, Features] = {}
    for start in range(0, len(every), batch):
        group = every[start : start + batch]
        _encode(matcher, {_key(p): p for pair in group for p in pair}, known, batch)
        features = [(known[_key(a)], known[_key(b)]) for a, b in group]
        outputs = match_all(matcher.backend, [(a.tensors, b.tensors) for a, b in features], batch)
        for pair in group:
            for picture in pair:
                uses[_key(picture)] -= 1
                if not uses[_key(picture)]:
                    known.pop(_key(picture), None)
        for (a, b), output in zip(features, outputs, strict=True):
            yield matcher.correspondences(a.size, b.size, output)


def _encode(
    matcher: Matcher, pictures: dict[Hashable, Picture], known: dict[Hashable, Features], batch: int
) -> None:
    """Add the features of those that are new to ``known``."""
    keys, frames, sizes = [], [], []
    for key, picture in pictures.items():
        if key in known:
            continue
        if isinstance(picture, Features):
            known[key] = picture
            continue
        image = picture if isinstance(picture, np.ndarray) else read_image(picture)
        check_image(image)
        keys.append(key)
        frames.append(resize_uint8(image, matcher.manifest.image_size))
        sizes.append((image.shape[0], image.shape[1]))
    encoded = encode_all(matcher.backend, frames, batch)
    known.update(
        (key, Features(tensors, size)) for key, tensors, size in zip(keys, encoded, sizes, strict=True)
    )


def _key(picture: Picture) -> Hashable:
    return Path(picture).resolve() if isinstance(picture, (str, os.PathLike)) else id(picture)
