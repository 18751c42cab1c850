"""Addresses in messages and files, without the passwords in them."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_NAME = r"[^=&;#/\s]*(?:pas|pwd|token|key|secret|auth|sig|cred)[^=&;#/\s]*="
# After a slash only in addresses: folders of files are called sigma=1, too.
_SECRET = re.compile(rf"((?:[?&;#]|://\S*?/){_NAME})[^&;#\s]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with user, password and keys of all addresses in it replaced by ``***``."""
    return _SECRET.sub(r"\1***", _USER.sub("***@", text))
