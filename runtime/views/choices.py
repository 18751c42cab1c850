"""What can be chosen about the views that are matched. Imports nothing heavy: commands name the choices."""

from __future__ import annotations

from typing import Literal, Union

from dccnet.runtime.errors import ArgumentError

Mirror = Union[bool, Literal["auto"]]  # noqa: UP007 (Python 3.10 evaluates it)
"""Whether A is mirrored before it is matched; ``auto``: where matches are then clearly more confident."""
MIRRORS: dict[str, Mirror] = {"no": False, "yes": True, "auto": "auto"}
"""What people write for each."""
VIEWS = (1, 3, 8)
"""How many pairs of views can be matched."""


def as_mirror(value: object) -> Mirror:
    """Raises :class:`ArgumentError` for another value."""
    if isinstance(value, bool) or value == "auto":
        return "auto" if value == "auto" else bool(value)
    raise ArgumentError(f"mirror is True, False or 'auto', got {value!r}")


def as_views(value: object) -> int:
    """Raises :class:`ArgumentError` for a number that is not in :data:`VIEWS`."""
    if isinstance(value, int) and not isinstance(value, bool) and value in VIEWS:
        return int(value)
    raise ArgumentError(f"views is {', '.join(map(str, VIEWS[:-1]))} or {VIEWS[-1]}, got {value!r}")
