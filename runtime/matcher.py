"""The class that people import: pictures in, correspondences out."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import ENCODER, MATCHER, Bundle, Manifest
from runtime.correspondences import Correspondences
from runtime.engine import GraphRunner, OnnxRuntimeGraph
from runtime.errors import EngineError, ImageError
from runtime.geometry import Size, resize_uint8
from runtime.images import Image


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """An encoded picture, to be matched many times."""

    tensors: dict[str, NDArray[Any]]
    """``(1, C, h, w)`` for each branch of the network: ``local``, ``context``."""
    size: Size
    """(height, width) in pixels of the picture."""


class Matcher:
    """Matches pictures with an exported network. Thread-safe: share one among threads.

    >>> matcher = Matcher.open("bundle")                # doctest: +SKIP
    >>> result = matcher.match(cat, other_cat)          # doctest: +SKIP
    >>> result.transfer([[120.0, 80.0]], from_="a")     # doctest: +SKIP
    """

    def __init__(self, manifest: Manifest, encoder: GraphRunner, matcher: GraphRunner) -> None:
        self.manifest = manifest
        self._encoder = encoder
        self._matcher = matcher

    @classmethod
    def open(
        cls, bundle: str | os.PathLike[str] | Bundle, *, provider: str = "cpu", threads: int = 0
    ) -> Matcher:
        """Load a bundle into ONNX Runtime.

        ``provider`` is ``cpu``, ``cuda`` or ``tensorrt``; ``threads`` 0 means one for each core.
        Raises :class:`~runtime.errors.BundleError` and :class:`~runtime.errors.EngineError`.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle)
        paths = [bundle.graph_path(name) for name in (ENCODER, MATCHER)]
        with ThreadPoolExecutor() as pool:  # ONNX Runtime optimises a graph on one thread
            encoder, matcher = pool.map(lambda path: OnnxRuntimeGraph(path, provider, threads), paths)
        return cls(bundle.manifest, encoder, matcher)

    def encode(self, image: Image) -> Features:
        """Features of a picture ``(H, W, 3)`` uint8 BGR of any size.

        Raises :class:`~runtime.errors.ImageError` for another shape or dtype.
        """
        _check(image)
        frame = resize_uint8(image, self.manifest.image_size)
        tensors = self._encoder.run({"frame": frame[None]})
        return Features(tensors, (image.shape[0], image.shape[1]))

    def match(self, a: Image | Features, b: Image | Features) -> Correspondences:
        """Correspondences of two pictures, each an image as for :meth:`encode` or its features."""
        a = a if isinstance(a, Features) else self.encode(a)
        b = b if isinstance(b, Features) else self.encode(b)
        inputs = {f"{name}_a": tensor for name, tensor in a.tensors.items()}
        inputs |= {f"{name}_b": tensor for name, tensor in b.tensors.items()}
        outputs = {name: value[0] for name, value in self._matcher.run(inputs).items()}
        if not (np.isfinite(outputs["score_a"]).all() and np.isfinite(outputs["score_b"]).all()):
            raise EngineError(
                "the network computed scores that are not finite: check the bundle with "
                "dcc export --verify-data on these pictures"
            )
        grid = self.manifest.grid
        if self.manifest.heatmaps:
            for name in ("heatmap_a", "heatmap_b"):
                outputs[name] = outputs[name].reshape(*grid, *grid)
        for name in ("index_a", "score_a", "index_b", "score_b"):
            outputs[name] = outputs[name].reshape(grid)
        return Correspondences(a.size, b.size, **outputs)


def _check(image: Image) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"a picture must be a uint8 array as OpenCV reads it, got {kind}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"a picture must have shape (H, W, 3), BGR, got {image.shape}; grey and BGRA pictures are "
            "converted with cv2.cvtColor"
        )
