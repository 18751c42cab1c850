"""A model's card: what it is, where it comes from, what it may be used for and how good it is."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import BundleError
from dccnet.runtime.files import write_text
from dccnet.runtime.reading import read_json

CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Source:
    """Something that the model was made from."""

    what: str
    origin: str
    """A package on PyPI, or an address."""
    licence: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """PCK on one list of pairs."""

    data: str
    protocol: str
    """What a threshold is relative to, how points are transferred, and which pairs were scored."""
    pck: dict[str, float]
    """Percent of correct keypoints by threshold, such as ``0.1``."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The content of ``card.json`` in a bundle's folder; docs/models.md is the text for people."""

    name: str
    summary: str
    sources: tuple[Source, ...]
    licence: str
    """Licence of the weights."""
    command: str
    """The command that makes the model again."""
    accuracy: tuple[Accuracy, ...]
    limits: tuple[str, ...]


def read_card(folder: Path) -> ModelCard | None:
    """The card in a bundle's folder; None if there is none. Raises :class:`BundleError`."""
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        return decode(ModelCard, read_json(path))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged or was edited ({error}): copy the model again") from error


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card into a bundle's folder, atomically."""
    write_text(folder / CARD, json.dumps(dataclasses.asdict(card), indent=2, ensure_ascii=False) + "\n")
