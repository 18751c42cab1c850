"""What an evaluation has scored so far, on disk: a line a pair, so that it continues after any end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import IO, Any

from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.files import lock

JOURNAL = "progress.jsonl"
SCHEMA = 1

Identity = dict[str, Any]
"""What must be the same for two runs to be one: plain values."""


class Journal:
    """Outcomes by number of the case. A context: it holds the file, and no other process may."""

    def __init__(self, folder: Path, identity: Identity, restart: bool = False) -> None:
        self._path = folder / JOURNAL
        self._identity = json.loads(json.dumps({"schema": SCHEMA} | identity))
        self._restart = restart
        self.outcomes: dict[int, Outcome] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        """Raises :class:`UsageError` where the folder holds an evaluation of something else, and
        :class:`DccError` where it cannot be used."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b")
        except OSError as error:
            raise DccError(f"cannot write {self._path}: {error.strerror or error}") from error
        try:
            folder = self._path.parent
            lock(
                self._file,
                f"another evaluation is writing to {folder}: wait for it, or name another folder",
            )
            self._begin()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, number: int, outcome: Outcome) -> None:
        """Handed to the system at once: what was scored outlives the process."""
        assert self._file is not None
        self.outcomes[number] = outcome
        record = {"case": number} | dataclasses.asdict(outcome)
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def _begin(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        content = b"" if self._restart else self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)  # a line that was being written when the process ended
        if whole == 0:
            self._file.write(json.dumps(self._identity).encode() + b"\n")
            self._file.flush()
            return
        first, *lines = content[:whole].splitlines()
        try:
            self._check(json.loads(first))
            for line in lines:
                values = json.loads(line)
                number = values.pop("case")
                self.outcomes[number] = _outcome(values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DccError(f"{self._path} is damaged ({error}): begin again with --restart") from error

    def _check(self, found: Identity) -> None:
        wanted = self._identity
        changed = [key for key in wanted | found if found.get(key) != wanted.get(key)]
        if changed:
            raise UsageError(
                f"{self._path.parent} holds an evaluation of something else "
                f"({', '.join(_change(key, found.get(key), wanted.get(key)) for key in changed)}): name "
                "another folder with -o, or begin again with --restart"
            )


def _change(key: str, found: Any, wanted: Any) -> str:
    if "sha256" in key:  # digests say nothing to people
        return f"another {key.removesuffix('_sha256')}"
    was, asked = (json.dumps(value, ensure_ascii=False) for value in (found, wanted))
    return f"its {key} is {was}, not {asked}"


def _outcome(values: dict[str, Any]) -> Outcome:
    values["hits"], values["distances"] = tuple(values["hits"]), tuple(values["distances"])
    values["carried"] = tuple((x, y) for x, y in values["carried"])
    return Outcome(**values)
