"""Whether an ONNX file keeps weights in other files, which the hash in a manifest does not cover.

An ONNX file is a protobuf message: a sequence of fields, each a number, a wire type and a value. Only the
fields that lead to a tensor are followed; their numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

DEEPEST = 100
"""Nested messages that protobuf reads, too."""

# Message -> field number -> the message in that field.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING = range(8)
_FIELDS: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def has_external_weights(path: Path) -> bool:
    """Whether a tensor of the graph lies in another file. Raises ``ValueError`` for no protobuf message."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _search(content, 0, len(content), _MODEL, 0)


def _search(content: mmap.mmap, start: int, end: int, message: int, depth: int) -> bool:
    if depth > DEEPEST:
        raise ValueError("its messages are nested too deeply")
    inside = _FIELDS.get(message, {})
    for number, wire, first, last in _fields(content, start, end):
        if message == _TENSOR and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and first)):
            return True
        nested = inside.get(number) if wire == _LENGTH else None
        if nested is not None and _search(content, first, last, nested, depth + 1):
            return True
    return False


def _fields(content: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number and wire type of each field with first and last position of its bytes, or a number and 0."""
    while position < end:
        key, position = _varint(content, position, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(content, position, end)
            yield number, wire, value, 0
            continue
        if wire == _LENGTH:
            length, position = _varint(content, position, end)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire} is not used by ONNX")
        if length > end - position:
            raise ValueError("a field is longer than the file")
        yield number, wire, position, position + length
        position += length


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number in groups of seven bits, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number has no end")
