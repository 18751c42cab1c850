"""A text of one line for dataclasses of arrays, which would fill pages."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar


class OneLine:
    """Base of dataclasses with ``repr=False``: arrays appear as type and shape; None is left out."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.repr}
        shown = [f"{name}={_short(value)}" for name, value in values.items() if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name!r}: {_short(item)}' for name, item in value.items())}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, OneLine):
        return f"{type(value).__name__}(…)"
    return repr(value)
