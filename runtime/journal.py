"""A journal of what is done: one line of JSON for each piece, so that an interrupted run can resume."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.locks import folder_lock
from dccnet.runtime.reading import parse_json

JOURNAL = "progress.jsonl"

Identity = dict[str, Any]
"""Plain values that must be equal for a run to be resumed."""
_Entry = TypeVar("_Entry")


class Journal(Generic[_Entry]):
    """Entries by key, appended to a file. A context manager, which locks the folder."""

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        decode: Callable[[dict[str, Any], str], tuple[Any, _Entry]],
        *,
        what: str,
        output: str = "folder",
        restart: bool = False,
        on_no_locks: Callable[[str], None],
    ) -> None:
        """``decode`` makes a key and an entry of a line's values and its place, and raises ``ValueError``
        for wrong ones. ``what`` names such a run in messages, such as "evaluation", and ``output`` is what
        the command's ``-o`` names: a "folder" or a "file"."""
        self._path = folder / JOURNAL
        self._identity = json.loads(json.dumps(identity))
        self._decode, self._what, self._output, self._restart = decode, what, output, restart
        self._on_no_locks = on_no_locks
        self.entries: dict[Any, _Entry] = {}
        self._file: IO[bytes] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Journal[_Entry]:
        """Lock the folder and read the entries in its file.

        Raises :class:`UsageError` if the folder holds another run, and :class:`DccError` if the file
        is damaged, in use or cannot be written.
        """
        with contextlib.ExitStack() as stack:
            folder = self._path.parent
            busy = f"another process is writing to {folder}"
            advice = f"wait for it, or choose another {self._output}"
            stack.enter_context(folder_lock(folder, busy, advice, self._on_no_locks))
            try:
                self._file = stack.enter_context(self._path.open("a+b"))
            except OSError as error:
                raise DccError(f"cannot write {self._path}: {error.strerror or error}") from error
            self._read()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, key: Any, entry: _Entry, values: dict[str, Any]) -> None:
        """Append an entry as ``values``. It is flushed at once: it survives the end of the process."""
        assert self._file is not None
        self.entries[key] = entry
        self._file.write(json.dumps(values).encode() + b"\n")
        self._file.flush()

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        content = b"" if self._restart else self._file.read()
        end = content.rfind(b"\n") + 1
        self._file.truncate(end)  # removes a line that was incomplete when the process ended
        if end == 0:
            self._begin()
            return
        first, *lines = content[:end].splitlines()
        try:
            found = parse_json(first)
            if not lines and found.keys() == self._identity.keys():  # nothing was done: nothing can be lost
                self._begin()
                return
            self._check(found)
            for line_number, line in enumerate(lines, start=2):
                key, entry = self._decode(parse_json(line), f"line {line_number}")
                self.entries[key] = entry
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DccError(f"{self._path} is damaged ({error}): start again with --restart") from error

    def _begin(self) -> None:
        assert self._file is not None
        self._file.truncate(0)
        self._file.write(json.dumps(self._identity).encode() + b"\n")
        self._file.flush()

    def _check(self, found: Identity) -> None:
        wanted = self._identity
        changed = [key for key in wanted | found if found.get(key) != wanted.get(key)]
        if changed:
            raise UsageError(
                f"{self._path.parent} holds another {self._what} "
                f"({', '.join(_change(key, found.get(key), wanted.get(key)) for key in changed)}): choose "
                f"another {self._output} with -o, or start again with --restart"
            )


def _change(key: str, found: Any, wanted: Any) -> str:
    if "sha256" in key:  # a digest tells a person nothing
        return f"another {key.removesuffix('_sha256')}"
    was, asked = (json.dumps(value, ensure_ascii=False) for value in (found, wanted))
    return f"its {key} is {was}, not {asked}"
