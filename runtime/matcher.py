"""The class that people import: pictures in, correspondences out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.backend import Backend
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.device_arrays import device_view
from dccnet.runtime.errors import EngineError
from dccnet.runtime.features import Features, check_image
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.runtime.manifest import Manifest
from dccnet.runtime.score_maps import take_maps
from dccnet.runtime.selection import Choice, open_backend

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dccnet.runtime.match_many import Picture
    from dccnet.runtime.video.propagation.settings import Propagation
    from dccnet.runtime.video.references import ReferenceLike
    from dccnet.runtime.video.sources import Source
    from dccnet.runtime.video.stream import Stream


class Matcher:
    """Matches pictures with an exported network. Thread-safe: share one among threads.

    >>> matcher = Matcher.open("bundle")                # doctest: +SKIP
    >>> result = matcher.match(cat, other_cat)          # doctest: +SKIP
    >>> result.transfer([[120.0, 80.0]], from_="a")     # doctest: +SKIP
    """

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        self.manifest = manifest
        self.backend = backend
        """What runs the network; its ``description`` says so to people."""

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        backend: str = "auto",
        device: str = "auto",
        provider: str | None = None,
        threads: int = 0,
        trust_engine: bool = False,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> Matcher:
        """Load a bundle.

        ``backend`` is ``onnxruntime``, ``tensorrt``, or ``auto`` for the fastest that is really there;
        ``device`` is ``cpu``, ``cuda``, ``cuda:1`` or ``auto``. ``provider`` (of ONNX Runtime: ``cpu``,
        ``cuda``, ``tensorrt``) goes with the device if not given; ``threads`` 0 means one for each core.
        ``trust_engine`` loads engines without a sidecar. ``on_note`` hears of engines being built on first
        use and of what ``auto`` passed over. Raises :class:`BundleError`,
        :class:`EngineError` and :class:`UsageError`.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle)
        choice = Choice(backend, device, provider, threads, trust_engine)
        return cls(bundle.manifest, open_backend(bundle, choice, on_note))

    def encode(self, image: Any, *, size: Size | None = None, stream: int | None = None) -> Features:
        """Features of a picture ``(H, W, 3)`` uint8 BGR of any size.

        On a GPU backend also one that is there already: anything with ``__cuda_array_interface__`` or
        DLPack (CuPy, PyCUDA, PyTorch), which must have the network's own ``manifest.image_size``, since it
        is not resized; ``size`` then says (height, width) of the picture that it came from, and ``stream``
        is the handle of the CUDA stream whose work it must wait for. Raises
        :class:`ImageError` for another shape or dtype.
        """
        view = None if isinstance(image, np.ndarray) else device_view(image)
        if view is not None:
            return Features(self.backend.encode(view, stream), size or self.manifest.image_size)
        check_image(image)
        frame = resize_uint8(image, self.manifest.image_size)
        return Features(self.backend.encode(frame, stream), size or (image.shape[0], image.shape[1]))

    def match(
        self, a: Image | Features, b: Image | Features, *, stream: int | None = None
    ) -> Correspondences:
        """Correspondences of two pictures, each an image as for :meth:`encode` or its features."""
        a = a if isinstance(a, Features) else self.encode(a, stream=stream)
        b = b if isinstance(b, Features) else self.encode(b, stream=stream)
        return self.correspondences(a.size, b.size, self.backend.match(a.tensors, b.tensors, stream))

    def match_many(
        self, pairs: Iterable[tuple[Picture, Picture]], *, batch: int = 1
    ) -> Iterator[Correspondences]:
        """Correspondences of each pair (A, B), in order; a picture in several pairs is encoded once.

        A picture is an image as for :meth:`encode`, its features, or the path of a file; the same array or
        the same path is the same picture, whose features are kept until its last pair. ``batch`` pairs are
        matched in one run where the backend can. Raises what :meth:`match` and
        :func:`~dccnet.runtime.images.read_image` raise.
        """
        from dccnet.runtime.match_many import match_many

        return match_many(self, pairs, batch)

    def stream(
        self,
        source: Source,
        reference: ReferenceLike | Sequence[ReferenceLike] = "frame:0",
        *,
        points: ArrayLike | None = None,
        labels: Sequence[str] = (),
        mask: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        batch: int = 1,
        live: bool | None = None,
        stall_s: float | None = None,
        propagation: Propagation | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> Stream:
        """Match every frame of ``source`` with ``reference``, in threads that overlap.

        ``source``: a video file, a folder or glob of pictures, a camera's index, an ``rtsp://`` or
        ``http://`` address, or any iterable of frames ``(H, W, 3)`` uint8 BGR. Files give every frame in
        order; a live source (cameras, addresses without a length, iterables with ``live=True``) always
        gives its newest frame, and those that were overtaken are counted. Frames that cannot be decoded
        are skipped, counted, and told to ``on_note``.

        ``reference``: a picture, its path, a :class:`Reference`, several of these (each frame
        then takes the one that fits best), ``"frame:0"`` (or another number, of a file) or ``"previous"``
        for the frame before. ``points`` ``(N, 2)`` (with ``labels``, if they have any), ``mask`` ``(H, W)``
        or ``(H, W, 3)`` uint8 and ``boxes`` ``(M, 4)`` (x, y, width, height), in pixels of the reference,
        are carried to every frame as ``propagation`` says.

        ``batch`` frames are matched in one run where the backend can. A live source that gives nothing for
        ``stall_s`` seconds (10 by default) is a :class:`VideoError`; others may take their
        time unless ``stall_s`` is given.

        Returns an iterator of :class:`FrameResult`, to be closed or used in a ``with`` block
        where it is not read to the end. Raises :class:`UsageError`,
        :class:`VideoError` and :class:`ImageError` at once for what cannot
        be opened, later for what fails on the way.
        """
        from dccnet.runtime.video.propagation.settings import Propagation
        from dccnet.runtime.video.stream import Stream

        carried = {
            "points": None if points is None else np.asarray(points, np.float64).reshape(-1, 2),
            "labels": tuple(labels) or None,
            "mask": None if mask is None else np.asarray(mask),
            "boxes": None if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4),
        }
        return Stream(
            self,
            source,
            reference,
            carried=carried,
            batch=batch,
            live=live,
            stall_s=stall_s,
            propagation=propagation or Propagation(),
            on_note=on_note,
        )

    def correspondences(self, size_a: Size, size_b: Size, outputs: dict[str, Array]) -> Correspondences:
        """What the backend's ``match`` returned for two pictures of these sizes (height, width).

        Raises :class:`EngineError` for scores that are not finite.
        """
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
        return Correspondences(size_a, size_b, maps=take_maps(outputs, grid), **outputs)
