"""The files of the page: its own, the bundle's graphs as they are, and those of onnxruntime-web."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import cv2

from dccnet.runtime.bundle import MANIFEST, Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import read_bytes, read_image
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.models.names import BUILT_IN
from dccnet.runtime.viewer.live.onnxruntime_web import PACKAGE, WEBGPU, WebRuntime

CONFIG = "page.json"
INDEX = "index.html"
LICENCES = (f"{PACKAGE}/LICENSE.txt", "bundle/LICENSE.txt")
SHOWN_BY_BROWSERS = (".avif", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_TYPES = (".css", ".html", ".js")


class LivePage(NamedTuple):
    """The page's files."""

    files: dict[str, bytes]
    """Content by path, with ``/``."""
    loaded: int
    """Bytes that a browser loads."""


def live_page(bundle: Bundle, name: str, runtime: WebRuntime, pictures: Sequence[Path] = ()) -> LivePage:
    """The page for a bundle that people know as ``name``, which opens with ``pictures``: none, or A and B.

    Raises :class:`ImageError` for a picture that cannot be read.
    """
    content = _own_files()
    module, wasm = f"{PACKAGE}/{runtime.build.module}", f"{PACKAGE}/{runtime.build.wasm}.gz"
    content |= {module: runtime.module, wasm: runtime.wasm_gz}
    content[f"bundle/{MANIFEST}"] = (bundle.path / MANIFEST).read_bytes()
    for graph in bundle.manifest.graphs.values():
        content[f"bundle/{graph.file}"] = (bundle.path / graph.file).read_bytes()
    shown = [_picture(side, path, content) for side, path in zip("ab", pictures, strict=False)]
    config = {
        "name": name,
        "runtime": module,
        "wasm": wasm,
        "webgpu": runtime.build == WEBGPU,
        "manifest": f"bundle/{MANIFEST}",
        ENCODER: f"bundle/{bundle.manifest.graphs[ENCODER].file}",
        MATCHER: f"bundle/{bundle.manifest.graphs[MATCHER].file}",
        "pictures": shown,
        "sizes": {path: len(data) for path, data in content.items()},
    }
    content[CONFIG] = json.dumps(config, indent=2).encode()
    loaded = sum(map(len, content.values()))
    package = files("dccnet.runtime.viewer.live")
    of_runtime, of_bundle = LICENCES
    content[of_runtime] = package.joinpath(f"{PACKAGE}.txt").read_bytes()
    if bundle.path.parent == BUILT_IN:
        content[of_bundle] = (BUILT_IN / "APACHE-2.0.txt").read_bytes()
    return LivePage(content, loaded)


def write_page(page: LivePage, folder: Path) -> None:
    """Write the page's files into ``folder``, completely or not at all; an earlier page there is replaced.

    Raises :class:`DccError` rather than replace another folder, or one with files of others beside the
    page, and where it cannot be written.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file()):
        raise DccError(f"{folder} exists and is no page of dcc view --live: name another folder")
    known = _earlier_files(folder / CONFIG)
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in known:
            raise DccError(f"{path} is no file of the page, and would be lost: name another folder")
    with atomic_path(folder) as temporary:
        for name, content in page.files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _earlier_files(config: Path) -> set[str]:
    """What a page of an earlier run consists of, by its ``page.json``; nothing of a file of others."""
    try:
        sizes = json.loads(config.read_bytes())["sizes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    return {CONFIG, *LICENCES, *sizes} if isinstance(sizes, dict) else set()


def _own_files() -> dict[str, bytes]:
    viewer = files("dccnet.runtime.viewer")
    live = [entry for entry in viewer.joinpath("live").iterdir() if Path(entry.name).suffix in _TYPES]
    shared = [viewer.joinpath(name) for name in ("page.css", "colours.js", "shared.js")]
    return {entry.name: entry.read_bytes() for entry in sorted((*live, *shared), key=lambda e: e.name)}


def _picture(side: str, path: Path, content: dict[str, bytes]) -> dict[str, str]:
    """Add a picture to ``content``: as it is, or as PNG if browsers do not show its format."""
    image, suffix = read_image(path), path.suffix.lower()
    if suffix in SHOWN_BY_BROWSERS:
        data = read_bytes(path)
    else:
        suffix, data = ".png", cv2.imencode(".png", image)[1].tobytes()
    file = f"pictures/{side}{suffix}"
    content[file] = data
    return {"side": side, "file": file, "name": path.name}
