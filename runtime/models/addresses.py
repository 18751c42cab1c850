"""Models by address: a repository on the Hugging Face Hub, or an archive with its hash."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote

from dccnet.runtime.addresses import without_secrets
from dccnet.runtime.errors import UsageError

_HUB = re.compile(r"([\w.-]+)/([\w.-]+)(?:@(.+))?", re.ASCII)
_WEB = re.compile(r"(https?):/{1,2}(.+)", re.IGNORECASE)  # a Path has one slash
_HASH = re.compile(r"sha256[=:]([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """``hf:OWNER/NAME[@REVISION]``: the bundle in the root folder of a repository."""

    repository: str
    """``OWNER/NAME``."""
    revision: str | None
    """A branch, a tag or a commit; None: the main branch."""

    def __str__(self) -> str:
        return f"hf:{self.repository}" + (f"@{self.revision}" if self.revision else "")

    @property
    def key(self) -> str:
        """Name of the folder that the model is kept in."""
        return quote(str(self)[3:], safe="@")


@dataclass(frozen=True, slots=True)
class ArchiveAddress:
    """``https://…/bundle.zip#sha256=…``: a bundle as a ``.zip`` or tar file."""

    url: str
    sha256: str

    def __str__(self) -> str:
        """For people and files: without a password in the address."""
        return f"{without_secrets(self.url)}#sha256={self.sha256}"

    @property
    def key(self) -> str:
        """Name of the folder that the model is kept in: the same file at another place is the same."""
        return self.sha256


Address = HubAddress | ArchiveAddress


def parse_address(model: str | os.PathLike[str]) -> Address | None:
    """The address that ``model`` is; None for a path or a name.

    Raises :class:`UsageError` for one that is not complete, such as an archive without its hash.
    """
    text = os.fspath(model)
    if text.startswith("hf:"):
        found = _HUB.fullmatch(text[3:])
        if found is None or {found[1], found[2]} & {".", ".."}:
            raise UsageError(f"{text} is no model on the Hugging Face Hub: write hf:OWNER/NAME[@REVISION]")
        return HubAddress(f"{found[1]}/{found[2]}", found[3])
    web = _WEB.fullmatch(text)
    if web is None:
        return None
    place, _, fragment = web[2].partition("#")
    url, digest = f"{web[1].lower()}://{place}", _HASH.fullmatch(fragment)
    if digest is None:
        raise UsageError(
            f"{without_secrets(url)} is used with the SHA-256 of the file only, so that nobody can replace "
            "it unnoticed: write #sha256= and the 64 digits that sha256sum FILE prints after it"
        )
    return ArchiveAddress(url, digest[1].lower())
