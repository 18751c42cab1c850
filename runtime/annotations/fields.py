"""Values of annotation files, checked: what is wrong is said with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree


class AnnotationError(ValueError):
    """What is wrong in a file of annotations, and where."""


def objects(
    content: Mapping[str, Any], name: str, fields: Sequence[str], needed: bool = True
) -> list[dict[str, Any]]:
    """The list ``name`` of objects, each of which has the ``fields``."""
    entries = content.get(name, None if needed else [])
    if not isinstance(entries, list):
        raise AnnotationError(f"'{name}' must be a list")
    for at, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise AnnotationError(f"entry {at} of '{name}' is no object")
        missing = [field for field in fields if field not in entry]
        if missing:
            raise AnnotationError(f"entry {at} of '{name}' has no '{missing[0]}'")
    return entries


def number(value: Any, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise AnnotationError(f"{where}: {value!r} is no number")
    return float(value)


def numbers(values: Any, where: str) -> list[float]:
    if not isinstance(values, list):
        raise AnnotationError(f"{where} must be a list of numbers")
    return [number(value, where) for value in values]


def texts(values: Any, where: str) -> tuple[str, ...]:
    """Texts that are all different."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise AnnotationError(f"{where} must be a list of texts")
    if len(set(values)) < len(values):
        raise AnnotationError(f"{where} has a name twice")
    return tuple(values)


def text_of(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise AnnotationError(f"'{name}' must be a text, not {value!r}")
    return value


def as_number(text: Any, where: str) -> float:
    """A finite number from a text."""
    try:
        return number(float(text), where)
    except (TypeError, ValueError):
        raise AnnotationError(f"{where}: {text!r} is no number") from None


def parse_xml(text: str, what: str) -> ElementTree.Element:
    """The root of ``what``. Entities, which can expand to gigabytes, are refused."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise AnnotationError(f"{what} declares entities, which dcc does not expand")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError) as error:
        raise AnnotationError(f"{what} is no XML: {error}") from None
