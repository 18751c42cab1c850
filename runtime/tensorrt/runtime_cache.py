"""Kernels that TensorRT-RTX compiled on this GPU, kept in the user's own cache for other processes.

They are code that is loaded: a bundle never brings them.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dccnet.runtime.errors import DccError
from dccnet.runtime.files import atomic_path

SAVED_EVERY = 8
"""The kernels are kept after call 1, 8, 64, …: some are compiled in the background, after the first run."""
_DIGEST_BYTES = hashlib.sha256().digest_size


class RuntimeCache:
    """The compiled kernels of a bundle's engines on one GPU. May be used from several threads at once."""

    def __init__(self, cache: Any, file: Path, kept: bytes | None) -> None:
        """``cache`` is the library's; ``kept`` is the digest of what the file contains."""
        self._cache, self._file, self._kept = cache, file, kept
        self._calls, self._next = 0, 1
        self._lock = threading.Lock()

    @classmethod
    def open(cls, config: Any, file: Path, on_note: Callable[[str], None]) -> RuntimeCache | None:
        """The kernels in ``file``, which lies in the user's own cache, or none yet.

        ``config`` is an ``IRuntimeConfig``; the GPU must be active. ``on_note`` is told what is compiled,
        kept or dropped. None where the library takes no cache.
        """
        cache = config.create_runtime_cache()
        if cache is None or not config.set_runtime_cache(cache):
            on_note("TensorRT-RTX takes no cache of kernels: every process compiles them again")
            return None
        try:
            content = file.read_bytes()
        except OSError:
            on_note(f"TensorRT-RTX compiles kernels in the first runs, and keeps them in {file}")
            return cls(cache, file, None)
        digest, kernels = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        whole = hashlib.sha256(kernels).digest() == digest
        if whole and cache.deserialize(kernels):
            return cls(cache, file, digest)
        reason = "of another GPU, driver or version of TensorRT-RTX" if whole else "damaged"
        on_note(f"{file} is {reason} and was dropped: kernels are compiled again")
        with contextlib.suppress(OSError):
            file.unlink()
        return cls(cache, file, None)

    def attach(self, config: Any) -> None:
        """Give the kernels to another ``IRuntimeConfig``, before a context is created from it."""
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Keep the kernels, if this is the call for it and there are new ones."""
        if not self._lock.acquire(blocking=False):  # another call does it
            return
        try:
            self._calls += 1
            if self._calls >= self._next:
                self._next *= SAVED_EVERY
                self._write()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Keep what was compiled since, and release the kernels; the contexts must be closed before."""
        with self._lock:
            self._write()
            self._cache = None

    def _write(self) -> None:
        if self._cache is None:
            return
        kernels = self._cache.serialize()
        if kernels is None:
            return
        content = bytes(kernels)
        digest = hashlib.sha256(content).digest()
        if digest == self._kept:
            return
        # A full disk costs the next process time, and this one nothing.
        with contextlib.suppress(DccError), atomic_path(self._file) as temporary:
            temporary.write_bytes(digest + content)
            self._kept = digest
