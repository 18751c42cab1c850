"""The features of an encoded picture, and the check of a picture before it is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.errors import ImageError, UsageError
from dccnet.runtime.geometry import Size
from dccnet.runtime.one_line import OneLine
from dccnet.runtime.views.view import AS_IT_IS, MIRRORED, View


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Features(OneLine):
    """An encoded picture. The ``Matcher`` that encoded it can match it many times."""

    tensors: Tensors
    """``(1, C, h, w)`` for each branch of the network, ``local`` and ``context``: NumPy arrays, or GPU
    memory where the backend runs on a GPU. Fine features, ``fine``, are always a NumPy array."""
    size: Size
    """(height, width) of the original picture in pixels."""
    others: Mapping[View, Tensors] = field(default_factory=dict)
    """The features of other views of the picture: mirrored, zoomed or turned, where they were asked for."""

    @classmethod
    def of_views(cls, views: Mapping[View, Tensors], size: Size) -> Features:
        """From those of each view, the picture as it is among them."""
        return cls(views[AS_IT_IS], size, {view: t for view, t in views.items() if view != AS_IT_IS})

    @property
    def views(self) -> dict[View, Tensors]:
        """Of all views, the picture as it is first."""
        return {AS_IT_IS: self.tensors, **self.others}

    def has(self, views: Iterable[View]) -> bool:
        """Whether all these views were encoded."""
        return all(view == AS_IT_IS or view in self.others for view in views)

    def of(self, view: View) -> Tensors:
        """The features of one view. Raises :class:`UsageError` where it was not encoded."""
        if view == AS_IT_IS:
            return self.tensors
        if view not in self.others:
            raise UsageError(
                "these features lack a view that the match needs: encode both pictures with its number of "
                "views"
            )
        return self.others[view]

    def turned_over(self) -> Features:
        """The features of the picture mirrored left to right. Raises :class:`UsageError` where it was not
        encoded so."""
        if not self.has([MIRRORED]):
            raise UsageError("these features of A are not mirrored: encode A with mirrored=True")
        return Features.of_views({view.turned_over: t for view, t in self.views.items()}, self.size)

    @property
    def nbytes(self) -> int:
        """Memory of the tensors, on a GPU, too."""
        tensors = (tensor for of_view in self.views.values() for tensor in of_view.values())
        return sum(int(np.prod(t.shape)) * np.dtype(t.dtype).itemsize for t in tensors)


def check_image(image: Image) -> None:
    """Raises :class:`ImageError` unless ``image`` is ``(H, W, 3)`` uint8 and not empty."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(
            f"a picture must be a uint8 array as OpenCV reads it, a path or a PIL picture, got {kind}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"a picture must have shape (H, W, 3), BGR, got {image.shape}; grey and BGRA pictures are "
            "converted with cv2.cvtColor"
        )
