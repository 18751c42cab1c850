"""The annotated pictures: found in files of annotations, read, and encoded as they are needed."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.frame_names import frame_of
from dccnet.runtime.annotations.model import AnnotationSet, Category, Picture, fitted, merged
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.errors import DataError, UsageError, VideoError
from dccnet.runtime.features import Features
from dccnet.runtime.file_names import as_parts
from dccnet.runtime.images import read_image
from dccnet.runtime.palettes import Palette

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

_KEPT = 32
"""Encoded references that are kept in memory; each has some megabytes."""
_HASH = 8  # letters that Label Studio puts before the name of a file that is uploaded


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An annotated picture."""

    picture: Picture
    """Its annotations; points in the order of the categories of all references."""
    path: Path
    """Its file, or the video that it is a frame of."""
    frame: int | None = None
    palette: Palette | None = None
    """Of its mask as PNG."""

    @property
    def name(self) -> str:
        return self.picture.name

    def read(self) -> Image:
        """The picture. Raises :class:`ImageError`; :class:`VideoError` for a frame that is not there."""
        return read_image(self.path) if self.frame is None else read_frame(self.path, self.frame)


def read_frame(video: Path, number: int) -> Image:
    """One frame of a video. Raises :class:`VideoError`."""
    from dccnet.runtime.video.sources import open_source
    from dccnet.runtime.video.stream import nth_frame

    frame = nth_frame(open_source(video).frames, number)
    if not isinstance(frame, np.ndarray):
        raise VideoError(f"{video} has no frame {number} that can be read") from (
            frame if isinstance(frame, Exception) else None
        )
    return frame


def find_references(
    annotations: AnnotationSet,
    places: Sequence[Path],
    around: Sequence[Path],
    chosen: Sequence[str],
    source: Path,
) -> tuple[list[Reference], Path]:
    """The annotated pictures of a file, and the folder that its names are relative to.

    Pictures are looked for in the folders ``places`` that the user named; then, first by their whole
    names, beside the file, in the folders ``around`` of the targets, and in the folders around the file.
    ``chosen`` are globs of names; none means all.

    Raises :class:`DataError` for a picture that is not there, and :class:`UsageError` where nothing is
    annotated or chosen.
    """
    annotated = [one for one in annotations.pictures if one.annotated]
    if not annotated:
        raise UsageError(f"{source} annotates no picture: it needs points, a box or a mask in one at least")
    wanted = [one for one in annotated if not chosen or any(fnmatchcase(one.name, glob) for glob in chosen)]
    if not wanted:
        raise UsageError(
            f"{source} annotates no picture that --use names; it has {annotated[0].name}"
            + (f" and {len(annotated) - 1} others" if len(annotated) > 1 else "")
        )
    above = list(annotations.root.resolve().parents)[:3]
    roots = list(dict.fromkeys([annotations.root, *around, *above]))
    references = []
    root = annotations.root
    for at, picture in enumerate(wanted):
        found = _located(picture.name, places) or _located(picture.name, roots)
        if found is None:
            raise DataError(
                f"{source} names the picture {picture.name}, which is neither beside it nor in "
                f"{', '.join(map(str, [*places, *around]))}: name its folder with --pictures"
            )
        path, frame, base = found
        root = base if at == 0 else root
        references.append(Reference(picture, path, frame))
    return references, root


def _located(name: str, roots: Iterable[Path]) -> tuple[Path, int | None, Path] | None:
    """The file that a name means, the number of the frame, and the folder that the name is relative to.

    The whole name comes first: a picture of the same last name in another folder is another picture.
    """
    parts = as_parts(name)
    short = parts[1:] if parts[:1] == ("labeled-data",) else parts
    own = parts[-1]
    uploaded = (own[_HASH + 1 :],) if own[_HASH : _HASH + 1] == "-" else ()
    video = frame_of(name)
    for names in dict.fromkeys([parts, short, (own,), uploaded]):
        for root in roots if names else ():
            path = root.joinpath(*names)
            if path.is_file():
                return path, None, root if names == parts else path.parent
    if video is not None:
        for clip in (root / own for own in (video[0], Path(video[0]).name) for root in roots):
            if clip.is_file():
                return clip, video[1], clip.parent
    return None


def united(
    references: Sequence[Reference], sets: Sequence[AnnotationSet]
) -> tuple[list[Reference], tuple[Category, ...]]:
    """References of several files with the categories of all of them."""
    categories = merged(category for one in sets for category in one.categories)
    named = {category.name: category for category in categories}
    owners = {id(picture): one for one in sets for picture in one.pictures}
    found = []
    for reference in references:
        own = owners[id(reference.picture)]
        instances = tuple(
            fitted(instance, own.category(instance.category), named[instance.category])
            for instance in reference.picture.instances
        )
        found.append(
            dataclasses.replace(
                reference, picture=dataclasses.replace(reference.picture, instances=instances)
            )
        )
    used = {instance.category for one in found for instance in one.picture.instances}
    return found, tuple(category for category in categories if category.name in used)


class EncodedReferences:
    """References with their features, of which the ones used last are kept."""

    def __init__(self, matcher: Matcher, references: Sequence[Reference], most: int) -> None:
        """``most`` is the number of references that :meth:`nearest` returns.

        Encodes every reference once. Raises :class:`ImageError` and :class:`UsageError`.
        """
        self.references = tuple(references)
        self._matcher, self._most = matcher, most
        self._kept: OrderedDict[int, Features] = OrderedDict()
        self._lock = threading.Lock()
        summaries = []
        for number, reference in enumerate(self.references):
            features = self.features(number)
            _check(reference, features)
            summaries.append(summary(features))
        self._summaries = summaries

    def features(self, number: int) -> Features:
        """Of one reference; any thread may ask."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            found = self._kept[number] = self._matcher.encode(self.references[number].read())
            if len(self._kept) > max(_KEPT, self._most):
                self._kept.popitem(last=False)
            return found

    @property
    def compared(self) -> bool:
        """Whether :meth:`nearest` chooses by similarity; else it takes the first ones, because features on
        a GPU are not compared."""
        few = len(self.references) <= self._most
        return few or all(one is not None for one in self._summaries)

    def nearest(self, features: Features) -> list[int]:
        """The references whose features are most similar on the whole, the most similar first; the first
        ones where features are not :attr:`compared`."""
        own = summary(features)
        if own is None or len(self.references) <= self._most:
            return list(range(len(self.references)))[: self._most]
        similar = [-1.0 if other is None else float(own @ other) for other in self._summaries]
        return list(np.argsort(similar)[::-1][: self._most])


def summary(features: Features) -> NDArray[np.float32] | None:
    """``(C,)``: the mean of a picture's features, of length 1; None where they are on a GPU."""
    tensor = features.tensors["local"]
    if not isinstance(tensor, np.ndarray):
        return None
    mean: Floats = tensor[0].reshape(tensor.shape[1], -1).mean(axis=1)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def _check(reference: Reference, features: Features) -> None:
    """Raises :class:`UsageError` where annotations do not fit the picture."""
    height, width = features.size
    declared = reference.picture.size
    if declared is not None and declared != features.size:
        raise UsageError(
            f"{reference.path} has {width}x{height} pixels, but its annotations were made on "
            f"{declared[1]}x{declared[0]}: use the picture that was annotated"
        )
    for instance in reference.picture.instances:
        points = instance.points[instance.annotated]
        if len(points) and not ((points >= -1) & (points <= [width, height])).all():
            x, y = points[((points < -1) | (points > [width, height])).any(axis=1)][0]
            raise UsageError(
                f"the point {x:g},{y:g} lies outside the {width}x{height} picture {reference.path}"
            )
        if instance.mask is not None and instance.mask.size != features.size:
            raise UsageError(
                f"the mask is {instance.mask.size[1]}x{instance.mask.size[0]} and does not fit the "
                f"{width}x{height} picture {reference.path}: draw it on that picture"
            )
