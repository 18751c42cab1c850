"""``plan.json``: which layers to change, found by a search (docs/calibration.md describes its fields)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dccnet.calibration.agreement import PROTOCOL, unit
from dccnet.calibration.search import PrecisionPlan
from dccnet.calibration.sensitivity import Sensitivity
from dccnet.calibration.settings import Method, SearchSettings, Target
from dccnet.runtime.decoding import DecodingError, decode
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import write_text
from dccnet.runtime.reading import read_json

SCHEMA = 2
Precision = Literal["int8", "float16"]
INT8: Precision = "int8"
HALF: Precision = "float16"


def write_plan_file(
    path: Path,
    plan: PrecisionPlan,
    sensitivities: Sequence[Sensitivity],
    settings: SearchSettings,
    details: Mapping[str, Any],
) -> None:
    """Write ``plan`` and the measurements that it is based on.

    ``details`` are the fields that only this precision has, ``precision`` among them.
    """
    values = {
        "schema": SCHEMA,
        **details,
        "level": settings.level,
        "budget": {
            "at_most": settings.budget,
            "unit": unit(plan.agreement),
            "protocol": None if plan.agreement.pck is None else PROTOCOL,
        },
        "layers": plan.layers,
        "groups": plan.groups,
        "agreement": dataclasses.asdict(plan.agreement),
        "combinations_measured": plan.tried,
        "sensitivity": [_row(s) for s in sensitivities],
    }
    write_text(path, json.dumps(values, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class _Content:
    """The fields of the file that are needed to apply a plan."""

    schema: int
    precision: Precision
    layers: tuple[str, ...]
    table: dict[str, Any] | None = None
    method: Method | None = None
    target: Target | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("it names no layers")


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What is needed to apply a plan."""

    path: Path
    precision: Precision
    layers: tuple[str, ...]
    """Layers to change; for half precision, steps."""
    table: dict[str, Any] | None = None
    """For INT8, the calibration table with the ranges of these layers, as JSON has it."""
    method: Method | None = None
    target: Target | None = None

    def check(self, known: Collection[str], advice: str) -> None:
        """Raise :class:`DataError`, with ``advice``, where the plan has layers that are not ``known``."""
        for layer in self.layers:
            if layer not in known:
                raise DataError(
                    f"{self.path} is the plan of another network: it has {layer} in {self.precision}, "
                    f"which is not among the layers that can be changed here; {advice}"
                )


def read_plan_file(path: Path) -> PlanFile:
    """Raises :class:`DataError` for a file that is not a plan, or a plan of another schema."""
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise DecodingError(f"the content must be an object, got {type(values).__name__}")
        if (schema := values.get("schema")) != SCHEMA:
            raise DecodingError(f"its schema is {schema}, and this dcc reads {SCHEMA}")
        fields = {field.name for field in dataclasses.fields(_Content)}
        content = decode(_Content, {name: value for name, value in values.items() if name in fields})
    except OSError as error:
        raise DataError(f"the plan {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is no plan, or was edited ({error}): make one with --budget") from error
    return PlanFile(path, content.precision, content.layers, content.table, content.method, content.target)


def _row(sensitivity: Sensitivity) -> dict[str, Any]:
    return {
        "group": sensitivity.group.name,
        "layers": sensitivity.group.layers,
        "macs": sensitivity.group.macs,
        "bytes_saved": sensitivity.group.bytes_saved,
        "ms_saved": round(1e3 * sensitivity.seconds_saved, 3),
        **dataclasses.asdict(sensitivity.agreement),
    }
