"""What ``dcc eval`` makes of its options."""

from __future__ import annotations

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


def output_folders(models: tuple[Path, ...], output: Path | None) -> list[Path | None]:
    """A folder for each model: ``output`` itself for one model, folders in it for several."""
    if output is None:
        return [None] * len(models)
    if len(models) == 1:
        return [output]
    names = [f"{model.absolute().parent.name}-{model.stem}" for model in models]
    if len(set(names)) < len(names):
        raise UsageError(f"two models would write to one folder in {output}: evaluate them separately")
    return [output / name for name in names]
