"""Which folders a bundle may replace, and the versions of the tools that write bundles."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dccnet.runtime.bundle import MANIFEST, read_manifest
from dccnet.runtime.errors import BundleError, UsageError
from dccnet.runtime.models.card import CARD
from dccnet.runtime.tensorrt.plan import sidecar_path
from dccnet.runtime.tuning.kept import FILE as TUNING


def check_replaceable(path: Path) -> None:
    """Raise :class:`UsageError` where writing a bundle to ``path`` would delete anything but a bundle."""
    if path.exists() and not _is_only_a_bundle(path):
        raise UsageError(
            f"{path} exists and is not a bundle, or contains other files as well: choose another name"
        )


def _is_only_a_bundle(path: Path) -> bool:
    try:
        manifest = read_manifest(path)
    except BundleError:
        return False
    plans = [path / record.file for record in manifest.engines]
    known = {MANIFEST, CARD, TUNING, *(graph.file for graph in manifest.files)}
    known |= {plan.name for plan in plans} | {sidecar_path(plan).name for plan in plans}
    if manifest.calibration is not None:
        known.add(manifest.calibration.table)
    return {entry.name for entry in path.iterdir()} <= known


def tool_versions() -> dict[str, str]:
    """Versions of Python and of those packages that can affect a bundle and are installed."""
    tools = {"python": platform.python_version()}
    for package in ("dccnet", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"):
        try:
            tools[package] = version(package)
        except PackageNotFoundError:
            continue
    return tools
