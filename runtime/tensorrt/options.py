"""The options that ``dcc export --format engine`` and ``dcc build`` share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dccnet.runtime.errors import EngineError, UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.option_types import Whole
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings
from dccnet.runtime.tensorrt.library import (
    RTX,
    RTX_TARGETS,
    TENSORRT,
    Library,
    installed_libraries,
    load_library,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_OPTIONS = (
    click.option(
        "--library",
        type=click.Choice(["auto", TENSORRT, RTX]),
        default="auto",
        show_default=True,
        help="Compiler: TensorRT, for the GPU of this machine, or TensorRT-RTX, for any --target.",
    ),
    click.option(
        "--target",
        "targets",
        metavar="SM,...",
        default="",
        help=f"TensorRT-RTX: GPU generations, from {', '.join(RTX_TARGETS)}.  [default: 8.0, 8.6, 8.9, "
        "12.0 and later]",
    ),
    click.option(
        "--batch",
        metavar="MIN:OPT:MAX",
        default="1:1:1",
        show_default=True,
        help="Pictures (or pairs) in one run; dcc match uses one unless --batch is given there, too. MAX "
        "determines the memory.",
    ),
    click.option(
        "--workspace", metavar="SIZE", help="Largest scratch memory of a kernel, such as 512M or 2G."
    ),
    click.option("--opt-level", type=Whole(0, 5), help="How long the builder searches."),
    click.option(
        "--timing-cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TensorRT: file with the measurements of earlier builds; read and extended.  [default: one "
        "for each GPU in the cache]",
    ),
    click.option(
        "--hardware-compatibility",
        type=click.Choice(["none", "ampere+", "same-capability"]),
        default="none",
        help="TensorRT: other GPUs that can run the engine.",
    ),
    click.option("--tf32", is_flag=True, help="Allow TF32: float32 products with ten bits of mantissa."),
)


def engine_options(command: _Command) -> _Command:
    """Add these options to a command, which passes their values to :func:`library_and_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def library_and_settings(
    library: str,
    targets: str,
    batch: str,
    workspace: str | None,
    opt_level: int | None,
    timing_cache: Path | None,
    hardware_compatibility: str,
    tf32: bool,
) -> tuple[Library, BuildSettings]:
    """The library and settings that the options select.

    Raises :class:`UsageError` for options that exclude each other, :class:`EngineError` for a library that
    is not installed.
    """
    settings = BuildSettings(
        batch=BatchRange.parse(batch),
        targets=tuple(target.strip().lower() for target in targets.split(",") if target.strip()),
        workspace=None if workspace is None else parse_bytes(workspace),
        optimization_level=opt_level,
        timing_cache=timing_cache,
        hardware_compatibility=hardware_compatibility,
        tf32=tf32,
    )
    chosen = _choose_library(library, settings)
    settings.check(chosen)
    return chosen, settings


def parse_bytes(text: str) -> int:
    """Bytes from ``512M``, ``2G``, ``2GiB`` or a plain number. Raises :class:`UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError(f"a memory size is a number with K, M or G, such as 512M, not '{text}'")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _choose_library(name: str, settings: BuildSettings) -> Library:
    if name != "auto":
        return load_library(name)
    if settings.targets:
        return load_library(RTX)
    libraries = installed_libraries()
    if not libraries:
        raise EngineError(
            f"no engine library is installed: {install('rtx')} for TensorRT-RTX, which builds on any "
            f"machine, or {install('gpu')} for TensorRT, on the machine with the GPU"
        )
    from dccnet.runtime.cuda import cuda_problem

    # TensorRT comes first in the list, but builds only where there is a GPU.
    return libraries[0] if cuda_problem() is None else libraries[-1]
