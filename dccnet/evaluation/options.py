"""What ``dcc eval``, ``compare`` and ``figure`` make of their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dccnet.runtime.errors import UsageError


def parse_alphas(text: str) -> tuple[float, ...]:
    """The thresholds in a text such as ``0.05,0.1``, increasing. Raises :class:`UsageError`."""
    try:
        alphas = sorted({float(part) for part in text.split(",")})
        if not all(0 < alpha < float("inf") for alpha in alphas):
            raise ValueError
        return tuple(alphas)
    except ValueError:
        raise UsageError(f"--alpha takes positive numbers, such as 0.05,0.1, not '{text}'") from None


def parse_names(text: str) -> list[str]:
    """The names in a text such as ``NC-Net,DCCNet``. Raises :class:`UsageError` if one is empty."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--names takes names between commas, such as NC-Net,DCCNet, not '{text}'")
    return names


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Names that tell paths apart: their last parts, without those at the end that all have, and with as
    many before as it takes. Raises :class:`UsageError` if two are the same."""
    parts = [path.absolute().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise UsageError("one result or model is named twice: name different ones")
    while len(parts) > 1 and len({own[-1] for own in parts}) == 1:
        parts = [own[:-1] for own in parts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return names


def output_folders(models: tuple[Path, ...], output: Path | None) -> list[Path | None]:
    """A folder for each model: ``output`` itself for one model, folders in it for several."""
    if output is None:
        return [None] * len(models)
    if len(models) == 1:
        return [output]
    names = [f"{model.absolute().parent.name}-{model.stem}" for model in models]
    if len(set(names)) < len(names):
        parts = distinct_names([model.absolute().with_suffix("") for model in models])
        names = [part.replace("/", "-") for part in parts]
    if len(set(names)) < len(names):  # such as a/b-c and a-b/c
        raise UsageError(f"two models would write to one folder in {output}: evaluate them separately")
    return [output / name for name in names]
