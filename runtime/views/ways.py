"""Which frames a match needs, and the match of what was encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.features import Features
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.geometry import Size
from dccnet.runtime.mirroring import kept_way, ways_to_match
from dccnet.runtime.views.choices import Mirror, as_mirror, as_views
from dccnet.runtime.views.combining import combine
from dccnet.runtime.views.view import PAIRS, View, views_of_source, views_of_target

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences
    from dccnet.runtime.matcher import Matcher


class Ways(NamedTuple):
    """In which ways the pictures of a pair are matched."""

    mirror: Mirror = False
    """Whether A is mirrored."""
    views: int = 1
    """How many pairs of views are matched, for each way round."""

    @property
    def source(self) -> tuple[View, ...]:
        """The views of A that are needed."""
        return views_of_source(self.views, self.mirror is not False)

    @property
    def target(self) -> tuple[View, ...]:
        """The views of B that are needed."""
        return views_of_target(self.views)


AS_THEY_ARE = Ways()


def as_ways(mirror: object, views: object) -> Ways:
    """Raises :class:`ArgumentError` for values that are none."""
    return Ways(as_mirror(mirror), as_views(views))


class SeenPicture(NamedTuple):
    """A picture as the encoder takes it."""

    frames: dict[View, Array]
    size: Size
    """(height, width) of the picture in pixels."""


def see(image: Image, views: Sequence[View], frames: FrameFormat) -> SeenPicture:
    """The frames of a picture ``(H, W, 3)`` uint8 BGR."""
    return SeenPicture(
        {view: view.frame(image, frames) for view in views}, (image.shape[0], image.shape[1])
    )


class AskedPair(NamedTuple):
    """Two encoded pictures that are to be matched."""

    a: Features
    b: Features
    ways: Ways = AS_THEY_ARE

    def inputs(self) -> list[tuple[Tensors, Tensors]]:
        """What the matcher takes, for each match. Raises :class:`UsageError` where a view was not
        encoded."""
        return [
            (a.of(view_a), self.b.of(view_b))
            for a in ways_to_match(self.a, self.ways.mirror)
            for view_a, view_b in PAIRS[self.ways.views]
        ]

    def result(
        self, matcher: Matcher, outputs: Sequence[dict[str, Array]], refine: bool | None
    ) -> Correspondences:
        """From the matcher's ``outputs`` for each of :meth:`inputs`. Raises the errors of
        ``Matcher.match``."""
        pairs, size = PAIRS[self.ways.views], matcher.manifest.image_size
        found = []
        for number, a in enumerate(ways_to_match(self.a, self.ways.mirror)):
            first, *others = outputs[number * len(pairs) : (number + 1) * len(pairs)]
            results = [matcher.result(a, self.b, first, refine)]
            results += [matcher.correspondences(a.size, self.b.size, other) for other in others]
            found.append(combine(results, pairs, size))
        return kept_way(found, self.ways.mirror)
