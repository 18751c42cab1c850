"""The bundle of commands that match pictures: ``--model NAME|BUNDLE``, or the first argument."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import note, warn
from dccnet.runtime.errors import BundleError, UsageError
from dccnet.runtime.manifest import Manifest
from dccnet.runtime.models.addresses import parse_address
from dccnet.runtime.models.names import BUILT_IN, DEFAULT, find_model, named_models
from dccnet.runtime.option_types import Function

_NOT_PICTURES = (".safetensors", ".onnx", ".engine", ".plan")


class ModelChoice(NamedTuple):
    """The bundle that a command matches with."""

    path: Path
    """Its folder, or a path where there is none."""
    named: str
    """As the user named it."""
    by_default: bool
    """Whether the user named none."""
    as_argument: bool
    """Whether it was the first argument."""

    @property
    def shown(self) -> str:
        """What a page or a client sees of it: its name, or the last part of its path or address."""
        return Path(self.named.partition("#")[0]).name or self.named

    @property
    def note(self) -> str:
        """What to tell a user who named none."""
        return f"built-in model {self.named}; another: --model BUNDLE"

    def two_missing(self, pictures: Sequence[str]) -> str:
        """What to say where a command needs two pictures and got ``pictures``."""
        if len(pictures) > 2:
            return f"name two pictures, A and B, not {len(pictures)}"
        second = f"name a second picture, B, to match {pictures[0]} with" if pictures else ""
        if not self.as_argument:
            return second or "name two pictures, A and B"
        if not self.path.exists():
            return f"{self.named} does not exist, and no model has this name: name two pictures, A and B"
        return f"{self.named} is taken for the bundle: {second or 'name two pictures, A and B, after it'}"

    def open(self) -> Bundle:
        """Raises :class:`BundleError`."""
        if not self.path.exists() and self.path.name == str(self.path):
            names = ", ".join(named_models())
            raise BundleError(
                f"{self.named} does not exist, and no model has this name (there is {names}; see dcc "
                "models); a bundle comes from dcc export MODEL -o BUNDLE"
            )
        return Bundle.open(self.path)

    def warn_unless_verified(self, manifest: Manifest) -> None:
        """Warn of graphs that were not compared with their network, or differ from it."""
        if not manifest.verified:
            warn(f"{self.named} is marked as not verified: its matches may differ from the network's")


def model_option(function: Function) -> Function:
    """Add ``--model`` to a command."""
    decorate = click.option(
        "--model",
        metavar="NAME|BUNDLE|ADDRESS",
        help="Bundle to match with: a folder, a name that dcc models lists, hf:OWNER/NAME[@REVISION], or "
        "the https address of an archive with #sha256=…, which are fetched once.  "
        f"[default: {DEFAULT}, which comes with dcc]",
    )
    return decorate(function)


def choose_model(model: str | None, arguments: Sequence[str]) -> tuple[ModelChoice, tuple[str, ...]]:
    """The bundle to match with, and the arguments that are pictures.

    The first argument is a bundle if it is a folder, as no picture A is, an address, or a name without a
    picture's suffix where no file is. Raises :class:`UsageError` where ``--model`` names one, too.
    """
    first, *others = arguments or ("",)
    if not first or not is_bundle_like(first):
        if model is not None:
            return ModelChoice(find_model(model, note), model, False, False), tuple(arguments)
        return ModelChoice(BUILT_IN / DEFAULT, DEFAULT, True, False), tuple(arguments)
    if model is not None:
        raise UsageError(f"the picture A cannot be {first}; as a bundle, it contradicts --model {model}")
    return ModelChoice(find_model(first, note), first, False, True), tuple(others)


def is_bundle_like(argument: str) -> bool:
    """Whether an argument names a bundle, or something that people take for one, and not a picture."""
    from dccnet.runtime.images import is_picture

    if parse_address(argument) is not None:
        return True
    path = Path(argument)
    if path.is_file():
        return path.suffix.lower() in _NOT_PICTURES
    return path.is_dir() or not is_picture(path)
