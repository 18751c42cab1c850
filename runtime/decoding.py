"""Decode JSON to frozen dataclasses; errors name the path of the wrong field."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_Instance = TypeVar("_Instance")


class DecodingError(ValueError):
    """A value that its dataclass does not accept; the message starts with its path, ``graphs.encoder``."""


def decode(kind: type[_Instance], value: Any, path: str = "") -> _Instance:
    """An instance of the dataclass ``kind`` from what ``json.loads`` returned.

    Field types may be ``int``, ``float``, ``str``, ``bool``, ``None``, ``Any``, ``Literal``, other
    dataclasses, and ``tuple``, ``list``, ``dict`` and unions of these. Only two conversions are made: a
    list becomes a tuple, and a whole number a float, where the field's type says so. ``path`` is the
    position of ``value`` in its file. Raises :class:`DecodingError` for a missing or unknown field, for a
    value of another type, and where the dataclass itself raises ``ValueError``.
    """
    decoded: _Instance = _dataclass(kind, value, path)
    return decoded


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in value:
        if name not in fields:
            raise DecodingError(f"{_join(path, name)} is unknown")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise DecodingError(f"{_join(path, name)} is missing")
    hints = _hints(kind)
    arguments = {name: _any(hints[name], item, _join(path, name)) for name, item in value.items()}
    try:
        return kind(**arguments)
    except DecodingError:
        raise
    except ValueError as error:
        raise DecodingError(f"{path}: {error}" if path else str(error)) from error


def _any(kind: Any, value: Any, path: str) -> Any:  # noqa: PLR0911 (a case for each kind)
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    if origin in (Union, types.UnionType):
        return _union(inner, value, path)
    if origin is Literal:
        if value not in inner or type(value) not in map(type, inner):
            raise DecodingError(f"{path} must be one of {', '.join(map(str, inner))}, got {value!r}")
        return value
    if origin is tuple:
        return _tuple(inner, value, path)
    if origin is list:
        return [_any(inner[0], item, f"{path}[{i}]") for i, item in enumerate(_listed(value, path))]
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(path, "an object", value)
        return {name: _any(inner[1], item, _join(path, name)) for name, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if kind in (int, float, str, bool, type(None)) and type(value) is kind:
        return value
    raise _wrong(path, getattr(kind, "__name__", str(kind)), value)


def _union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:
        return _any(others[0], value, path)
    for kind in others:
        try:
            return _any(kind, value, path)
        except DecodingError:
            continue
    raise _wrong(path, " or ".join(getattr(kind, "__name__", str(kind)) for kind in others), value)


def _tuple(kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    items = _listed(value, path)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(items)
    if len(items) != len(kinds):
        raise DecodingError(f"{path} must have {len(kinds)} items, got {len(items)}")
    pairs = enumerate(zip(kinds, items, strict=True))
    return tuple(_any(kind, item, f"{path}[{i}]") for i, (kind, item) in pairs)


def _listed(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "a list", value)
    return value


def _wrong(path: str, wanted: str, value: Any) -> DecodingError:
    return DecodingError(f"{path or 'the content'} must be {wanted}, got {type(value).__name__}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@functools.lru_cache(maxsize=256)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
