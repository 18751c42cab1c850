"""The service without HTTP: what is done for a request, and by which thread."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.errors import UsageError
from dccnet.runtime.manifest import encode_manifest
from dccnet.runtime.matcher import Matcher, check_refinement
from dccnet.runtime.views.view import View
from dccnet.service.answers import Question, answer
from dccnet.service.batcher import Batcher, Picture
from dccnet.service.gate import Gate
from dccnet.service.metrics import Metrics
from dccnet.service.pictures import Decoded, decode, to_jpeg
from dccnet.service.problems import busy
from dccnet.service.references import Reference, References
from dccnet.service.settings import Settings
from dccnet.service.urls import Fetcher

Result = TypeVar("Result")


class Service:
    """A model, its limits, its references and its threads: one that runs the network, and some that decode
    pictures and write answers, so that the event loop does neither."""

    def __init__(self, matcher: Matcher, name: str, settings: Settings) -> None:
        """``name`` is what clients see of the model."""
        self.matcher, self.settings = matcher, settings
        self.metrics = metrics = Metrics()
        self.model = {"name": name, "digest": str(encode_manifest(matcher.manifest)["digest"])}
        self.batcher = Batcher(
            matcher, settings.batch, settings.batch_wait_s, metrics.observe, metrics.batch_jobs.observe
        )
        self.gate = Gate(
            settings.queue, settings.timeout_s, lambda: self.batcher.seconds_per_job, self.refused
        )
        self.references = References(
            settings.reference_bytes,
            settings.reference_s,
            lambda reason: metrics.removed.labels(reason).inc(),
        )
        self.fetcher = Fetcher(settings.url_hosts, settings.body_bytes, private=settings.private_urls)
        self._pool = ThreadPoolExecutor(max(usable_cores(), 2), "dcc-service")
        metrics.model.labels(name, self.model["digest"], matcher.backend.description).set(1)
        metrics.follow("dcc_requests_inside", "Requests that are received or computed.", self._inside)
        metrics.follow("dcc_queue_jobs", "Jobs that wait for the network.", lambda: self.batcher.waiting)
        metrics.follow("dcc_references", "References that are kept.", lambda: len(self.references))
        metrics.follow("dcc_reference_bytes", "Memory of the references.", lambda: self.references.nbytes)

    def close(self) -> None:
        """End the threads after what they are doing; the matcher stays open."""
        self.batcher.close()
        self._pool.shutdown()

    def stop(self) -> None:
        """Refuse further requests; those that are inside go on."""
        self.gate.stopping = True

    def refused(self, reason: str) -> None:
        self.metrics.refused.labels(reason).inc()

    @property
    def ready(self) -> bool:
        return self.batcher.alive and not self.gate.stopping

    async def in_time(self, work: Awaitable[Result]) -> Result:
        """What ``work`` returns. Raises 503 where it takes longer than allowed."""
        try:
            return await asyncio.wait_for(work, self.settings.timeout_s)
        except asyncio.TimeoutError:
            self.refused("deadline")
            raise busy(
                f"the request was not answered within {self.settings.timeout_s:g} s: try again later",
                self.gate.wait_s,
            ) from None

    async def decoded(self, data: bytes, name: str, *, drawn: bool, views: Sequence[View]) -> Decoded:
        """A picture of a request, as :func:`decode` returns it. Raises :class:`ImageError`."""
        frames, pixels = self.matcher.manifest.frames, self.settings.pixels
        return await self._off_loop(
            "decode", lambda: decode(data, name, frames, pixels, drawn=drawn, views=views)
        )

    async def fetched(self, url: str) -> bytes:
        """The content of an address. Raises :class:`UsageError`."""
        if not self.settings.url_hosts:
            raise UsageError("this server fetches no addresses: send the pictures themselves")
        with self.metrics.timed("fetch"):
            return await asyncio.to_thread(self.fetcher.fetch, url, self.settings.timeout_s)

    async def match(
        self, a: Picture, b: Picture, question: Question, pictures: tuple[Image, Image] | None
    ) -> bytes:
        """The answer as JSON. Raises the errors of ``Matcher.match`` and of :func:`answer`."""
        check_refinement(self.matcher.manifest, question.refine)
        found = await self.batcher.match(a, b, question.refine, question.ways)
        return await self._off_loop("answer", lambda: answer(found, question, self.model, pictures))

    async def add_reference(self, decoded: Decoded) -> tuple[str, Reference]:
        """Encode a picture, decoded to be drawn, and keep it; returns its id, too."""
        features = await self.batcher.encode(decoded.seen)
        assert decoded.small is not None
        reference = Reference(features, to_jpeg(decoded.small))
        name = self.references.add(reference)
        if name is None:
            raise UsageError(
                f"a reference of this model takes {reference.nbytes} bytes, more than this server keeps"
            )
        return name, reference

    def reference(self, name: str) -> Reference | None:
        """The reference of this id."""
        found = self.references.get(name)
        self.metrics.lookups.labels("miss" if found is None else "hit").inc()
        return found

    async def picture_of(self, reference: Reference) -> Image:
        """The small picture of a reference."""

        def read() -> Image:
            image = cv2.imdecode(np.frombuffer(reference.picture, np.uint8), cv2.IMREAD_COLOR)
            return np.asarray(image, np.uint8)

        return await self._off_loop("decode", read)

    def describe(self) -> dict[str, Any]:
        """What runs here, without a path of this machine."""
        matcher, manifest, settings = self.matcher, self.matcher.manifest, self.settings
        confidence = manifest.confidence
        return {
            **self.model,
            "backbone": str(manifest.model["backbone"]),
            "backend": matcher.backend.description,
            "precision": manifest.precision,
            "image_size": list(manifest.image_size),
            "grid": list(manifest.grid),
            "refines": matcher.refines,
            "heatmaps": manifest.heatmaps,
            "confidence": None if confidence is None else confidence.meaning,
            "verified": manifest.verified,
            "version": _version(),
            "limits": {
                "body_bytes": settings.body_bytes,
                "pixels": settings.pixels,
                "points": settings.points,
                "views": settings.views,
                "timeout_s": settings.timeout_s,
            },
        }

    async def _off_loop(self, stage: str, work: Callable[[], Result]) -> Result:
        def timed() -> Result:
            started = time.monotonic()
            try:
                return work()
            finally:
                self.metrics.observe(stage, time.monotonic() - started)

        return await asyncio.get_running_loop().run_in_executor(self._pool, timed)

    def _inside(self) -> float:
        return self.gate.inside


def _version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version("dccnet")
    return "unknown"
