"""The models and pairs of a figure: named one by one, or those of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dccnet.evaluation.compare.folders import default_names, evaluations, holds_evaluations
from dccnet.evaluation.results import RESULTS
from dccnet.evaluation.scored_list import ScoredList, read_scored_list
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.reading import read_json


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a figure is of."""

    models: list[Path]
    names: list[str]
    """One for each model."""
    listed: ScoredList


def find_inputs(paths: Sequence[Path], listed: ScoredList | None) -> Inputs:
    """The models in ``paths``; folders of ``dcc eval -o`` and of ``dcc ablate`` stand for theirs.

    Without ``listed``, the pairs are those of the first such folder. Raises :class:`UsageError` if there is
    none, and :class:`DccError` where a model is no longer there.
    """
    models: list[Path] = []
    named: list[tuple[Path, str | None]] = []
    for path in paths:
        if not holds_evaluations(path):
            models.append(path)
            named.append((path.absolute().with_suffix(""), None))
            continue
        for folder, name in evaluations(path):
            models.append(scored_model(folder))
            named.append((folder, name))
            listed = listed or read_scored_list(folder)
    if listed is None:
        raise UsageError(
            "--data LIST says from which list the pairs are: only folders of dcc eval know theirs"
        )
    return Inputs(models, default_names(named), listed)


def scored_model(folder: Path) -> Path:
    """The model that the evaluation in ``folder`` is of. Raises :class:`DccError`."""
    path = folder / RESULTS
    try:
        model = Path(read_json(path)["model"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DccError(f"{path} is damaged or no result of dcc eval ({error}): evaluate again") from error
    beside = folder / model.name  # dcc ablate's, whatever folder it was started in
    if found := next((one for one in (beside, model) if one.exists()), None):
        return found
    raise DccError(f"{model}, which {path} is of, is no longer there: name the model itself, and --data")
