"""The library logs; commands show what it logs."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from dccnet.runtime.messages import LOGGER, note, show_messages, warn
from tests.helpers.paths import ROOT

PROGRAMS = ("demo/", "runtime/commands/", "runtime/models/option.py", "dccnet/integrations/label_studio.py")
"""Where messages are those of a program, beside files with ``command`` in their name."""


def test_commands_show_each_message_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        show_messages()
    note("50 % of [bold] words")
    warn("a warning")
    logging.getLogger("dccnet.part").info("a part of it")
    printed = capsys.readouterr()
    assert printed.err == "50 % of [bold] words\nwarning: a warning\na part of it\n" and not printed.out


def test_a_program_that_imports_the_library_sees_records_and_nothing_printed() -> None:
    code = (
        "import logging\nfrom dccnet.runtime.messages import note, warn\n"
        "note('unseen'); warn('seen')\n"
        "logging.basicConfig(level='INFO', format='%(levelname)s %(name)s %(message)s')\n"
        "note('now seen')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == "seen\nINFO dccnet now seen\n"
    assert LOGGER.name == "dccnet"


def modules() -> list[Path]:
    rooms = ("calibration", "dccnet", "export", "runtime", "demo")
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def test_only_commands_write_to_the_console_themselves() -> None:
    printing = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            of_console = isinstance(node, ast.ImportFrom) and node.module == "dccnet.runtime.console"
            if of_console and {"note", "warn"} & {name.name for name in node.names}:
                printing.add(path.relative_to(ROOT).as_posix())
    assert len(printing) > 10
    assert not {name for name in printing if "command" not in name and not name.startswith(PROGRAMS)}
