"""A bundle: a folder with a manifest and ONNX graphs that can be copied to another machine."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.runtime.errors import BundleError, UsageError
from dccnet.runtime.files import sha256, write_text
from dccnet.runtime.manifest import OLDEST_SCHEMA, SCHEMA, Manifest, decode_manifest, encode_manifest
from dccnet.runtime.onnx_weights import has_external_weights
from dccnet.runtime.reading import read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are complete and unaltered."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read the manifest and check every graph's hash, which covers all of its weights.

        Raises :class:`BundleError`.
        """
        path = Path(path)
        manifest = read_manifest(path)
        for graph in manifest.files:
            file = path / graph.file
            if not file.is_file():
                raise BundleError(f"{path} is incomplete: {graph.file} is missing; copy it again")
            if sha256(file) != graph.sha256:
                raise BundleError(
                    f"{file} is not the file that was exported (its SHA-256 differs from the "
                    "manifest's): copy the bundle again, or export it again"
                )
            _refuse_external_weights(file)
        return cls(path, manifest)

    def with_lowering(self, name: str) -> Bundle:
        """The bundle with another of its lowerings as its matcher. Raises :class:`UsageError`."""
        try:
            return Bundle(self.path, self.manifest.with_lowering(name))
        except KeyError:
            there = ", ".join((self.manifest.conv4d.lowering, *self.manifest.lowerings))
            raise UsageError(
                f"{self.path} carries no matcher with the lowering {name}, only {there}: export it again "
                "with dcc export --conv4d all"
            ) from None

    def graph_path(self, name: str) -> Path:
        return self.path / self.manifest.graphs[name].file


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle at ``path``.

    Raises :class:`BundleError` where ``path`` is no bundle, one with a damaged manifest, or one of another
    schema.
    """
    if not path.exists():
        raise BundleError(f"{path} does not exist; a bundle comes from dcc export MODEL -o BUNDLE")
    file = path / MANIFEST
    if not file.is_file():
        kind = "a file" if path.is_file() else f"a folder without {MANIFEST}"
        raise BundleError(f"{path} is {kind}, not a bundle; a bundle comes from dcc export")
    try:
        values = read_json(file)
        _check_schema(path, values)
        return decode_manifest(values)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{file} is damaged or was edited ({error}): copy or export the bundle again"
        ) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest into the bundle's folder ``path``, atomically."""
    text = json.dumps(encode_manifest(manifest), indent=2, allow_nan=False)
    write_text(path / MANIFEST, text + "\n")


def _refuse_external_weights(graph: Path) -> None:
    """Raise :class:`BundleError` for a graph with weights in another file, which no hash covers."""
    try:
        external = has_external_weights(graph)
    except ValueError as error:
        raise BundleError(f"{graph} is no ONNX graph ({error}): export the bundle again") from error
    if external:
        raise BundleError(
            f"{graph} keeps weights in another file, which the manifest's hash does not cover: export the "
            "bundle again; dcc writes each graph as one file"
        )


def _check_schema(path: Path, values: Any) -> None:
    """Raises ``ValueError`` where there is no schema, :class:`BundleError` where it is another one."""
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int:
        raise ValueError("it does not say its schema")
    if not OLDEST_SCHEMA <= schema <= SCHEMA:
        advice = "upgrade dccnet" if schema > SCHEMA else "export it again"
        raise BundleError(
            f"{path} has bundle schema {schema} and this dcc reads schemas {OLDEST_SCHEMA} to {SCHEMA}: "
            f"{advice}"
        )
