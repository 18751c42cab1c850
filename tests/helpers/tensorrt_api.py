"""TensorRT's API, read from a listing, to check calls that cannot be run here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import DATA

LISTINGS = {version: DATA / f"tensorrt-{version}-api.txt" for version in ("10.3", "10.16", "11.4")}


@dataclass(frozen=True)
class Signature:
    """Number of required arguments of a call besides ``self``, and the names of all."""

    required: int
    names: tuple[str, ...]

    def accepts(self, positional: int, keywords: tuple[str, ...] = ()) -> bool:
        remaining = self.names[positional:]
        count = positional + len(keywords)
        return self.required <= count <= len(self.names) and all(k in remaining for k in keywords)


@dataclass(frozen=True)
class Member:
    """A member of a class."""

    kind: str
    """``method``, ``property``, ``read-only``, ``constant``, or ``callable`` of unknown arguments."""
    signatures: tuple[Signature, ...] = ()

    def accepts(self, positional: int, keywords: tuple[str, ...] = ()) -> bool:
        return self.kind == "callable" or any(s.accepts(positional, keywords) for s in self.signatures)


@dataclass(frozen=True)
class Api:
    """Everything in the listing."""

    enums: dict[str, dict[str, int]]
    classes: dict[str, dict[str, Member]]
    functions: frozenset[str]


def read_api(path: Path) -> Api:
    """Parse the listing."""
    enums: dict[str, dict[str, int]] = {}
    classes: dict[str, dict[str, Member]] = {}
    functions = set()
    section, name = "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("==="):
            section = line.split()[-1]
        elif section == "FUNCTIONS" and line:
            functions.add(line.split()[0])
        elif section and line and not line.startswith(" "):
            name = line.split()[0]
            if section == "ENUMS":
                enums[name] = {}
            else:
                classes[name] = {}
        elif section == "ENUMS" and (match := re.match(r"\s+(\w+) = (\d+)", line)):
            enums[name][match[1]] = int(match[2])
        elif section == "CLASSES" and (match := re.match(r"\s+(\w+): (.*)", line)):
            classes[name][match[1]] = _member(match[2])
    return Api(enums, classes, frozenset(functions))


def _member(text: str) -> Member:
    text = re.sub(r"\s*\[rtx-\]$", "", text)
    if text == "property":
        return Member("property")
    if text.startswith("property (read-only)"):
        return Member("read-only")
    if text == "callable":
        return Member("callable")
    if "(" in text:
        return Member("method", tuple(signatures(text)))
    return Member("constant")


def signatures(text: str) -> list[Signature]:
    """The overloads in a docstring of pybind11, such as ``f(self: X, a: int, b: int = 0) -> bool``."""
    found = []
    for match in re.finditer(r"\w+\((self: [^()]*?(?:\([^()]*\)[^()]*?)*)\) ->", text):
        arguments = _split(match[1])[1:]
        names = tuple(argument.split(":")[0].strip() for argument in arguments)
        found.append(Signature(sum("=" not in argument for argument in arguments), names))
    return found


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[(<{") - (character in "])>}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
