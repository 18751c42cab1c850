"""The class that people import: it takes pictures and returns correspondences."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Backend, Tensors
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.checks import as_boxes, as_labels, as_mask, as_points
from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.device_arrays import is_on_gpu
from dccnet.runtime.errors import EngineError, ImageError, UsageError
from dccnet.runtime.features import Features
from dccnet.runtime.freed_memory import return_freed_memory
from dccnet.runtime.geometry import Size
from dccnet.runtime.given_pictures import GivenPicture, as_image
from dccnet.runtime.manifest import FINE, SUPPORT, Manifest
from dccnet.runtime.match_many import Picture, match_many
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.refinement import FineFeatures
from dccnet.runtime.score_maps import take_maps
from dccnet.runtime.selection import BackendChoice, open_backend
from dccnet.runtime.views.choices import Mirror
from dccnet.runtime.views.view import AS_IT_IS
from dccnet.runtime.views.ways import AskedPair, Ways, as_ways, see

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dccnet.runtime.video.propagation.settings import Propagation
    from dccnet.runtime.video.references import ReferenceLike
    from dccnet.runtime.video.sources import Source
    from dccnet.runtime.video.stream import Stream


class Matcher:
    """Matches pictures with an exported network. Thread-safe: one can be shared by several threads.

    Its memory, on a GPU, too, is released by :meth:`close`, at the end of a ``with`` block, or when it is
    collected. It can be pickled, for other processes: they open the same bundle with the same options.

    >>> matcher = Matcher.open()                        # doctest: +SKIP
    >>> result = matcher.match(cat, other_cat)          # doctest: +SKIP
    >>> result.transfer([[120.0, 80.0]], from_="a")     # doctest: +SKIP
    """

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        refine: bool | None = None,
        mirror: Mirror = False,
        views: int = 1,
    ) -> None:
        """``refine``, ``mirror`` and ``views`` are those of :meth:`open`."""
        self.manifest = manifest
        self.backend = backend
        """The engine that runs the network; ``backend.description`` names it for people."""
        self.refines = manifest.fine is not None if refine is None else refine
        """Whether :meth:`match` refines matches unless it is told otherwise."""
        self.ways = as_ways(mirror, views)
        """Whether :meth:`match` mirrors A, and how many views it matches, unless it is told otherwise."""
        self._opened: tuple[Path, BackendChoice] | None = None
        """What :meth:`open` was called with."""

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        *,
        backend: str = "auto",
        device: str = "auto",
        provider: str | None = None,
        threads: int = 0,
        trust_engine: bool = False,
        tf32: bool = False,
        bf16: bool = False,
        refine: bool | None = None,
        mirror: Mirror = False,
        views: int = 1,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> Matcher:
        """Load a bundle by its path, a name that ``dcc models`` lists, or its address.

        An address is ``hf:OWNER/NAME[@REVISION]`` on the Hugging Face Hub or that of an archive with its
        hash, ``https://…/bundle.zip#sha256=…``. It is fetched once, and needs the extra ``hub``.
        The default is the built-in model.

        ``backend`` is ``onnxruntime``, ``openvino``, ``tensorrt``, or ``auto`` for what ``dcc tune`` chose
        on this machine, else the fastest of the first and the last that works on it; ``device`` is ``cpu``,
        ``cuda``, ``cuda:1`` or ``auto``, for OpenVINO also ``gpu`` or ``npu``. ``provider`` is ONNX
        Runtime's (``cpu``, ``cuda``, ``directml``, ``coreml``, ``xnnpack``) and depends on the device by
        default; ``threads`` are CPU threads, 0 for one per core, or as many as ``dcc tune`` chose.
        ``trust_engine`` loads engines that the manifest does not name. ``tf32`` allows ONNX Runtime's CUDA
        provider float32 products with ten bits of mantissa, ``bf16`` OpenVINO bfloat16. ``refine`` places
        matches below the cells of the grid by the fine features of both pictures
        (:mod:`dccnet.runtime.refinement`); by default, wherever the bundle returns these. ``mirror``
        matches A mirrored left to right, for things that face opposite ways; ``auto`` also matches it as it
        is, and keeps what is more confident, for twice the time. ``views``, 1, 3 or 8, is how many views
        of both pictures, also zoomed and turned ones, are matched: more are more accurate, and take
        nearly so many times as long (docs/views.md). ``on_note`` is called with a message when an engine is
        built on first use, when ``auto`` skips a backend, and later, from the thread that matches, when a
        CUDA graph cannot be captured. Raises :class:`BundleError`, :class:`EngineError`,
        :class:`UsageError` (also for ``refine`` with a bundle that cannot), and :class:`NotVerifiedError`
        for engines that disagree with their graphs.
        """
        if not isinstance(bundle, Bundle):
            bundle = open_bundle(bundle, on_note)
        choice = BackendChoice(backend, device, provider, threads, trust_engine, tf32, bf16)
        check_refinement(bundle.manifest, refine)
        ways = as_ways(mirror, views)
        matcher = cls(bundle.manifest, open_backend(bundle, choice, on_note), refine, *ways)
        matcher._opened = bundle.path.absolute(), choice
        return matcher

    def close(self) -> None:
        """Release the backend's memory at once, the weights included; no other thread may be using it.

        Results and features stay valid; :meth:`encode` and :meth:`match` then raise :class:`EngineError`.
        Closing again does nothing.
        """
        backend, self.backend = self.backend, _ClosedBackend()
        backend.close()
        del backend
        return_freed_memory()

    def __enter__(self) -> Matcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._opened is None:
            raise TypeError("only a matcher that Matcher.open() returned can be pickled")
        return _reopen, (type(self), *self._opened, self.refines, self.ways)

    def encode(
        self,
        image: Any,
        *,
        size: Size | None = None,
        mirrored: bool | None = None,
        views: int | None = None,
        stream: int | None = None,
    ) -> Features:
        """Features of a picture of any size: ``(H, W, 3)`` uint8 BGR, a path, or a picture of PIL.

        A file is turned as its EXIF orientation says; a picture of PIL is taken as it is.
        A GPU backend also takes a picture in GPU memory: any object with ``__cuda_array_interface__`` or
        DLPack (CuPy, PyCUDA, PyTorch). Such a picture is not resized and must have the size and type in
        ``manifest.frames``; ``size`` is the (height, width) in pixels of the original picture, and
        ``stream`` is the handle of the CUDA stream whose work must finish first. ``mirrored`` also encodes
        the picture mirrored left to right, as :meth:`match` with ``mirror`` needs it of A; by default, if
        the matcher mirrors. ``views`` is that of :meth:`match`. Raises :class:`ImageError` for another
        shape or dtype, and for a file that cannot be read.
        """
        mirrored = self.ways.mirror is not False if mirrored is None else mirrored
        seen = as_ways(mirrored, self.ways.views if views is None else views).source
        if not isinstance(image, np.ndarray) and is_on_gpu(image):
            if seen != (AS_IT_IS,):
                raise ImageError(
                    "a picture in GPU memory is matched as it is: copy it to the host for other views, or "
                    "mirror it"
                )
            return Features(self.backend.encode(image, stream), size or self.manifest.image_size)
        picture = see(as_image(image), seen, self.manifest.frames)
        tensors = {view: self.backend.encode(frame, stream) for view, frame in picture.frames.items()}
        return Features.of_views(tensors, size or picture.size)

    def match(
        self,
        a: GivenPicture | Features,
        b: GivenPicture | Features,
        *,
        refine: bool | None = None,
        mirror: Mirror | None = None,
        views: int | None = None,
        stream: int | None = None,
    ) -> Correspondences:
        """Correspondences of two pictures, each a picture as for :meth:`encode` or its features.

        ``refine``, ``mirror`` and ``views`` are those of :meth:`open`, which they replace for this pair;
        the result's ``mirrored`` says what ``auto`` chose. Raises :class:`ImageError`,
        :class:`EngineError`, and :class:`UsageError` for ``refine`` and several ``views`` with a bundle
        that cannot, and for ``mirror`` and ``views`` with features that were encoded without.
        """
        check_refinement(self.manifest, refine)
        usual = self.ways
        ways = as_ways(usual.mirror if mirror is None else mirror, usual.views if views is None else views)
        if not isinstance(a, Features):
            a = self.encode(a, mirrored=ways.mirror is not False, views=ways.views, stream=stream)
        if not isinstance(b, Features):
            b = self.encode(b, mirrored=False, views=ways.views, stream=stream)
        pair = AskedPair(a, b, ways)
        outputs = [self.backend.match(*tensors, stream) for tensors in pair.inputs()]
        return pair.result(self, outputs, refine)

    def match_many(
        self,
        pairs: Iterable[tuple[Picture, Picture]],
        *,
        batch: int = 1,
        cache_gb: float = 1.0,
        on_error: Callable[[int, ImageError], None] | None = None,
    ) -> Iterator[Correspondences]:
        """Correspondences of each pair (A, B), in order; a picture in several pairs is encoded once.

        A picture is one as for :meth:`encode`, or its features. The same object or the same path is the
        same picture. Features of the pictures used last are kept in ``cache_gb`` GiB;
        one that is needed again after that is encoded again. ``pairs`` may be endless: ``batch`` pairs are
        taken at a time, and matched in one run where the backend supports it.

        With ``on_error``, a pair with a picture that cannot be read has no result: the function is called
        with its number, from 0, and the error. Without it, the error is raised. Raises the errors of
        :meth:`match` and :func:`~dccnet.runtime.images.read_image`.
        """
        return match_many(self, pairs, batch, int(cache_gb * 2**30), on_error)

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
        reconnect: int = 0,
        propagation: Propagation | None = None,
        min_confidence: float | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> Stream:
        """Match every frame of ``source`` with ``reference``, in several threads at once.

        ``source``: a video file, a folder or glob of pictures, a camera's index, an ``rtsp://`` or
        ``http://`` address, or any iterable of frames ``(H, W, 3)`` uint8 BGR. Files yield every frame in
        order. A live source (cameras, addresses without a length, iterables with ``live=True``) always
        yields its newest frame; older frames are dropped and counted. Frames that cannot be decoded are
        skipped and counted, and ``on_note`` is called with the reason.

        ``reference``: a picture, its path, a :class:`Reference`, several of these (the best one is chosen
        for each frame), ``"frame:0"`` (or, for a file, another number) or ``"previous"`` for the frame
        before. ``points`` ``(N, 2)`` (with one label each in ``labels``, or none), ``mask`` ``(H, W)`` or
        ``(H, W, 3)`` uint8 and ``boxes`` ``(M, 4)`` (x, y, width, height), in pixels of the reference, are
        carried to every frame with the settings in ``propagation``.

        ``min_confidence``, from 0 to 1, leaves out matches of less confidence, and decides which carried
        points are visible; it needs a bundle with confidence.

        ``batch`` frames are matched in one run where the backend supports it. ``stall_s`` is the number of
        seconds without a frame after which :class:`VideoError` is raised; by default 10 for a live source,
        and unlimited for others. A camera or live address that breaks off is an error, too, unless it can
        be opened again, up to ``reconnect`` times in all.

        Returns an iterator of :class:`FrameResult`. Close it, or use it in a ``with`` block, unless you
        read it to the end. Raises :class:`UsageError`, :class:`VideoError` and :class:`ImageError`: at once
        for what cannot be opened, and from the iterator for what fails later.
        """
        if self.ways.mirror is not False:
            raise UsageError("frames of a video are not matched mirrored: open the matcher without mirror")
        from dccnet.runtime.video.annotations import Annotations
        from dccnet.runtime.video.propagation.settings import Propagation
        from dccnet.runtime.video.stream import Stream, StreamRequest

        annotations = Annotations(
            points=None if points is None else as_points(points),
            labels=as_labels(labels) or None,
            mask=None if mask is None else as_mask(mask),
            boxes=None if boxes is None else as_boxes(boxes),
        )
        request = StreamRequest(
            source,
            reference,
            annotations,
            batch,
            live,
            stall_s,
            reconnect,
            propagation or Propagation(),
            min_confidence,
            on_note,
        )
        return Stream(self, request)

    def result(
        self, a: Features, b: Features, outputs: dict[str, Array], refine: bool | None = None
    ) -> Correspondences:
        """Correspondences of two encoded pictures from the ``outputs`` of the backend's ``match``.

        ``refine`` and errors are those of :meth:`match`.
        """
        found = self.correspondences(a.size, b.size, outputs)
        grid = self.manifest.fine
        if grid is None or not (self.refines if refine is None else refine):
            return found
        fine = (
            FineFeatures.in_frame(features.tensors[FINE][0], grid, self.manifest.image_size)
            for features in (a, b)
        )
        return dataclasses.replace(found, fine_a=next(fine), fine_b=next(fine))

    def require_confidence(self) -> ConfidenceModel:
        """The bundle's confidence. Raises :class:`UsageError` where it has none."""
        confidence = self.manifest.confidence
        if confidence is None:
            raise UsageError(
                "this bundle has no confidence: fit it with dcc confidence BUNDLE --pairs LIST -o BUNDLE, "
                "or remove --min-confidence"
            )
        return confidence

    def correspondences(self, size_a: Size, size_b: Size, outputs: dict[str, Array]) -> Correspondences:
        """Correspondences from the ``outputs`` of the backend's ``match``; sizes are (height, width).

        They are not refined: see :meth:`result`. Raises :class:`EngineError` for scores that are not
        finite.
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
        for name in ("window_a", "window_b"):
            if name in outputs:  # bundles of dccnet 0.1 have none
                outputs[name] = outputs[name].reshape(*grid, -1)
        maps, confidence = take_maps(outputs, grid), self.manifest.confidence
        arrays: dict[str, Any] = outputs
        if SUPPORT in arrays:  # of a network that fuses by it
            arrays[SUPPORT] = float(arrays[SUPPORT].item())
        return Correspondences(size_a, size_b, maps=maps, confidence_model=confidence, **arrays)


class _ClosedBackend:
    """In the place of a backend that was closed, which is released with its memory."""

    description = "closed"

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        raise EngineError("the matcher is closed: open the bundle again")

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        raise EngineError("the matcher is closed: open the bundle again")

    def close(self) -> None:
        """Nothing to do."""


def check_refinement(manifest: Manifest, refine: bool | None) -> None:
    """Raises :class:`UsageError` where matches are to be refined and the bundle has no fine features."""
    if refine and manifest.fine is None:
        raise UsageError(
            "this bundle returns no fine features to refine matches by: export it again with dcc export "
            "--fine, or remove --refine"
        )


def _reopen(kind: type[Matcher], path: Path, choice: BackendChoice, refine: bool, ways: Ways) -> Matcher:
    """The matcher that was pickled."""
    return kind.open(path, refine=refine, **ways._asdict(), **choice._asdict())
