"""The journal of an evaluation: one line per scored pair, so that an interrupted evaluation can resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import DccError
from dccnet.runtime.journal import JOURNAL, Identity
from dccnet.runtime.journal import Journal as AnyJournal
from dccnet.runtime.messages import warn
from dccnet.runtime.reading import parse_json, read_text

SCHEMA = 1

__all__ = ["JOURNAL", "Identity", "Journal", "read_outcomes"]


class Journal(AnyJournal[Outcome]):
    """Outcomes by case number, appended to a file. A context manager, which locks the folder."""

    def __init__(self, folder: Path, identity: Identity, restart: bool = False) -> None:
        super().__init__(
            folder,
            {"schema": SCHEMA} | identity,
            _decoded,
            what="evaluation",
            restart=restart,
            on_no_locks=warn,
        )

    def __enter__(self) -> Journal:
        super().__enter__()
        return self

    @property
    def outcomes(self) -> dict[int, Outcome]:
        return self.entries

    def add_outcome(self, number: int, outcome: Outcome) -> None:
        """Append an outcome. It is flushed at once, so that it survives the end of the process."""
        self.add(number, outcome, {"case": number} | dataclasses.asdict(outcome))


def _decoded(values: dict[str, Any], where: str) -> tuple[int, Outcome]:
    case = values.pop("case")
    return case, decode(Outcome, values, where)


def read_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes of a complete evaluation in ``folder``, in the benchmark's order.

    Raises :class:`DccError` if the journal is missing, damaged or not complete.
    """
    path = folder / JOURNAL
    try:
        first, *lines = read_text(path).split("\n")[:-1]  # an incomplete line has no end
        pairs = parse_json(first)["pairs"]
        numbered = enumerate(lines, start=2)
        found = dict(_decoded(parse_json(line), f"line {number}") for number, line in numbered)
    except FileNotFoundError:
        raise DccError(f"{path} does not exist: run the same dcc eval again, which writes it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DccError(f"{path} is damaged ({error}): evaluate again with --restart") from error
    if sorted(found) != list(range(pairs)):
        raise DccError(f"{folder} is not complete: run the same dcc eval again, which continues it")
    return [found[number] for number in range(pairs)]
