"""Carry annotations to one picture after the other, from Python and from annotation tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dccnet.runtime.annotations.model import AnnotationSet, Category, Picture
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import UsageError
from dccnet.runtime.features import check_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.carrying import Semantic
from dccnet.runtime.propagate.inputs import Drawn, read_inputs
from dccnet.runtime.propagate.references import EncodedReferences
from dccnet.runtime.propagate.targets import Target
from dccnet.runtime.video.propagation.settings import Propagation


class Annotator:
    """Carries the annotations of reference pictures to any picture, as ``dcc propagate`` does.

    Thread-safe.

    >>> annotator = Annotator(Matcher.open(), ["annotated.json"])   # doctest: +SKIP
    >>> picture = annotator.annotate(image)                         # doctest: +SKIP
    >>> picture.instances[0].points, picture.instances[0].confidence  # doctest: +SKIP
    """

    def __init__(
        self,
        matcher: Matcher,
        references: Sequence[str | os.PathLike[str]],
        *,
        pictures: Sequence[str | os.PathLike[str]] = (),
        min_confidence: float | None = None,
        most: int = 5,
    ) -> None:
        """``references`` are files of annotations (COCO, CVAT, Label Studio, DeepLabCut, SLEAP, CSV), whose
        pictures are beside them or in the folders ``pictures``. Points of less confidence than
        ``min_confidence`` do not count. At most ``most`` references vote on a picture.

        Raises :class:`DccError` for what cannot be read, and for ``min_confidence`` with a bundle without
        confidence.
        """
        if not references:
            raise UsageError("an annotator needs a file of annotations")
        if min_confidence is not None:
            matcher.require_confidence()
        names = [os.fspath(one) for one in references]
        places = [Path(one) for one in pictures]
        inputs = read_inputs(names, str(Path(names[0]).parent), Drawn(), places, ())
        self.categories: tuple[Category, ...] = inputs.categories
        """With the names of the points, in the order of the rows of an instance."""
        self.hints = inputs.hints
        self.settings = Propagation.of_confidence(min_confidence)
        encoded = EncodedReferences(matcher, inputs.references, most)
        self.references: tuple[Picture, ...] = tuple(one.picture for one in encoded.references)
        self._carrying = Semantic(matcher, encoded, self.settings)

    def annotate(self, image: Image, name: str = "picture") -> Picture:
        """The annotations of ``image``, ``(H, W, 3)`` uint8 BGR. Raises :class:`ImageError`."""
        check_image(image)
        return self._carrying.carry(Target(name, Path(name)), image)[0]

    def annotations(self, picture: Picture) -> AnnotationSet:
        """One picture with its categories, for the writers in :mod:`dccnet.runtime.annotations`."""
        return AnnotationSet(self.categories, (picture,), hints=self.hints)
