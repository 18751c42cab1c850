"""What the library says while it works, as records of the logger ``dccnet``; commands show them on stderr.

A program that imports the library decides itself what becomes of them:
``logging.basicConfig(level="INFO")`` shows all. Without any set-up, Python shows the warnings alone.
"""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("dccnet")


def note(message: str) -> None:
    """One line of information."""
    LOGGER.info("%s", message)


def warn(message: str) -> None:
    """One line about a result that is probably not what the user wants."""
    LOGGER.warning("%s", message)


class _OnConsole(logging.Handler):
    """Writes records as commands write their own messages, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from dccnet.runtime import console  # loads rich

        show = console.warn if record.levelno >= logging.WARNING else console.note
        show(record.getMessage())


def show_messages() -> None:
    """Show all records on stderr, and nowhere else; calling again changes nothing."""
    if not any(isinstance(handler, _OnConsole) for handler in LOGGER.handlers):
        LOGGER.addHandler(_OnConsole())
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
