"""Writes a bundle with a fitted confidence."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from dccnet.export.bundles.folder import check_replaceable
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.files import atomic_path


def write_with_confidence(bundle: Bundle, confidence: ConfidenceModel, path: Path) -> Bundle:
    """Write ``bundle``, which may lie at ``path`` itself, with this confidence; every other file is copied.

    The bundle is written completely or not at all. Raises :class:`UsageError` where ``path`` is anything
    but a bundle.
    """
    check_replaceable(path)
    manifest = dataclasses.replace(bundle.manifest, confidence=confidence)
    with atomic_path(path) as temporary:
        shutil.copytree(bundle.path, temporary)
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)
