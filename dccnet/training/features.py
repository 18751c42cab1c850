"""A cache of frozen backbone features: each picture is computed once and kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from dccnet.evaluation.baseline import nearest_neighbour
from dccnet.evaluation.pairs import Pair, Picture
from dccnet.inference import frame_format, match_features, to_tensor
from dccnet.network.model import DCCNet, Matching
from dccnet.runtime.arrays import Array
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size
from dccnet.training.feature_files import FeatureFiles

Frame = tuple[Array, Size]
"""A picture resized for the network, and its original (height, width) in pixels."""


class FeatureCache:
    """Frozen features of pictures: in memory up to ``budget`` bytes, and on disk if ``files`` is given.

    Frozen features are the output of :meth:`DCCNet.frozen_features`: Z before its last steps, or before
    the blocks that are trained. ``workers`` threads read and resize pictures ahead (:meth:`prefetch`).
    """

    def __init__(
        self, model: DCCNet, budget: int, files: FeatureFiles | None = None, workers: int = 1
    ) -> None:
        self._model = model
        self.device = next(model.parameters()).device
        self._left = budget
        self._files = files
        self._kept: dict[str, tuple[Tensor, Size]] = {}
        self._sizes: dict[str, Size] = {}
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
        self._coming: dict[str, Future[Frame]] = {}
        self.computed = 0
        """Pictures computed by the backbone so far."""
        self.waited_s = 0.0
        """Seconds spent waiting for pictures to be read so far."""

    def prefetch(self, pictures: Iterable[Picture]) -> None:
        """Start to read these pictures in the background."""
        for picture in pictures:
            if not (picture.key in self._coming or self._is_known(picture)):
                self._coming[picture.key] = self._workers.submit(self._frame, picture)

    def batch(self, pictures: Sequence[Picture]) -> Tensor:
        """Frozen features ``(B, c, h, w)`` on the network's device."""
        return torch.cat([self._take(picture)[0] for picture in pictures]).to(self.device)

    def match(self, pair: Pair) -> Correspondences:
        """The network's matches between source (A) and target (B)."""
        with torch.no_grad():
            (a, size_a), (b, size_b) = (self._features_and_size(p) for p in (pair.source, pair.target))
            return match_features(
                self._model, self._model.branch_features(a), self._model.branch_features(b), size_a, size_b
            )

    def matching(self, pair: Pair) -> tuple[Matching, Size, Size]:
        """All that the network computes for source (A) and target (B), and their sizes in pixels."""
        with torch.no_grad():
            (a, size_a), (b, size_b) = (self._features_and_size(p) for p in (pair.source, pair.target))
            branches = self._model.branch_features
            return self._model.match(branches(a), branches(b)), size_a, size_b

    def nearest_neighbour(self, pair: Pair) -> Correspondences:
        """Nearest neighbours of the backbone's features between source (A) and target (B)."""
        (a, size_a), (b, size_b) = (self._features_and_size(p) for p in (pair.source, pair.target))
        return nearest_neighbour(a.cpu().numpy(), b.cpu().numpy(), size_a, size_b)

    def size(self, picture: Picture) -> Size:
        """(height, width) of a picture in pixels; computes its features if they are not known."""
        return self._sizes[picture.key] if picture.key in self._sizes else self._take(picture)[1]

    def _features_and_size(self, picture: Picture) -> tuple[Tensor, Size]:
        """Z ``(1, d, h, w)``, and (height, width) in pixels."""
        x, size = self._take(picture)
        with torch.no_grad():
            return self._model.local_features(x.to(self.device)), size

    def _take(self, picture: Picture) -> tuple[Tensor, Size]:
        entry = self._lookup(picture) or self._compute(picture)
        self._sizes[picture.key] = entry[1]
        return entry

    def _compute(self, picture: Picture) -> tuple[Tensor, Size]:
        started = time.perf_counter()
        coming = self._coming.pop(picture.key, None)
        frame, size = self._frame(picture) if coming is None else coming.result()
        self.waited_s += time.perf_counter() - started
        # One picture at a time: rounding may depend on the batch size, and a resumed run must be exact.
        with torch.no_grad():
            x = self._model.frozen_features(to_tensor(frame).to(self.device)).cpu()
        self.computed += 1
        if self._files is not None:
            self._files.put(picture, x, size)
        self._keep(picture, (x, size))
        return x, size

    def _lookup(self, picture: Picture) -> tuple[Tensor, Size] | None:
        kept = self._kept.get(picture.key)
        if kept is None and self._files is not None:
            kept = self._files.get(picture)
            if kept is not None:
                self._keep(picture, kept)
        return kept

    def _is_known(self, picture: Picture) -> bool:
        return picture.key in self._kept or (self._files is not None and picture in self._files)

    def _keep(self, picture: Picture, entry: tuple[Tensor, Size]) -> None:
        if entry[0].nbytes <= self._left:
            self._left -= entry[0].nbytes
            self._kept[picture.key] = entry

    def _frame(self, picture: Picture) -> Frame:
        image = picture.load()
        return frame_format(self._model.config).of(image), (image.shape[0], image.shape[1])
