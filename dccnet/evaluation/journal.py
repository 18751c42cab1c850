"""The journal of an evaluation: one line per scored pair, so that an interrupted evaluation can resume."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import IO, Any

from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.console import warn
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.locks import folder_lock
from dccnet.runtime.reading import parse_json

JOURNAL = "progress.jsonl"
SCHEMA = 1

Identity = dict[str, Any]
"""Plain values that must be equal for an evaluation to be resumed."""


class Journal:
    """Outcomes by case number, appended to a file. A context manager, which locks the folder."""

    def __init__(self, folder: Path, identity: Identity, restart: bool = False) -> None:
        self._path = folder / JOURNAL
        self._identity = json.loads(json.dumps({"schema": SCHEMA} | identity))
        self._restart = restart
        self.outcomes: dict[int, Outcome] = {}
        self._file: IO[bytes] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Journal:
        """Lock the folder and read the outcomes in its file.

        Raises :class:`UsageError` if the folder holds another evaluation, and :class:`DccError` if the file
        is damaged, in use or cannot be written.
        """
        with contextlib.ExitStack() as stack:
            folder = self._path.parent
            busy = f"another process is writing to {folder}"
            stack.enter_context(folder_lock(folder, busy, "wait for it, or choose another folder", warn))
            try:
                self._file = stack.enter_context(self._path.open("a+b"))
            except OSError as error:
                raise DccError(f"cannot write {self._path}: {error.strerror or error}") from error
            self._read()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, number: int, outcome: Outcome) -> None:
        """Append an outcome. It is flushed at once, so that it survives the end of the process."""
        assert self._file is not None
        self.outcomes[number] = outcome
        record = {"case": number} | dataclasses.asdict(outcome)
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        content = b"" if self._restart else self._file.read()
        end = content.rfind(b"\n") + 1
        self._file.truncate(end)  # removes a line that was incomplete when the process ended
        if end == 0:
            self._file.write(json.dumps(self._identity).encode() + b"\n")
            self._file.flush()
            return
        first, *lines = content[:end].splitlines()
        try:
            self._check(parse_json(first))
            for line_number, line in enumerate(lines, start=2):
                values = parse_json(line)
                case = values.pop("case")
                self.outcomes[case] = decode(Outcome, values, f"line {line_number}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DccError(f"{self._path} is damaged ({error}): start again with --restart") from error

    def _check(self, found: Identity) -> None:
        wanted = self._identity
        changed = [key for key in wanted | found if found.get(key) != wanted.get(key)]
        if changed:
            raise UsageError(
                f"{self._path.parent} holds another evaluation "
                f"({', '.join(_change(key, found.get(key), wanted.get(key)) for key in changed)}): choose "
                "another folder with -o, or start again with --restart"
            )


def _change(key: str, found: Any, wanted: Any) -> str:
    if "sha256" in key:  # a digest tells a person nothing
        return f"another {key.removesuffix('_sha256')}"
    was, asked = (json.dumps(value, ensure_ascii=False) for value in (found, wanted))
    return f"its {key} is {was}, not {asked}"
