"""``--help`` of the commands with many options: grouped, with examples first, and short enough to read."""

from __future__ import annotations

import importlib
import re
from collections import Counter

import click
import pytest

from dccnet.cli import COMMANDS
from dccnet.cli import dcc as group
from dccnet.runtime.option_groups import GroupedCommand, option_name

SCREEN = 40  # lines
MANY = 12
"""Commands with more options list them in groups."""


def loaded(name: str) -> click.Command:
    module, attribute, _ = COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(module, "dccnet"), attribute)
    return command


def options(command: click.Command) -> list[str]:
    return [
        option_name(param)
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden
    ]


def help_of(name: str) -> str:
    parent = click.Context(group, info_name="dcc", terminal_width=100, **group.context_settings)
    return loaded(name).get_help(click.Context(loaded(name), parent=parent, info_name=name))


LONG = [name for name in COMMANDS if len(options(loaded(name))) > MANY]
GROUPED = [name for name in COMMANDS if isinstance(loaded(name), GroupedCommand)]
"""The long ones, and those that share their options with one of them."""


def test_the_longest_are_among_them() -> None:
    assert {"match", "train", "calibrate"} <= set(LONG) <= set(GROUPED)
    assert {"align", "morph"} <= set(GROUPED)


@pytest.mark.parametrize("name", GROUPED)
def test_every_option_is_in_exactly_one_group(name: str) -> None:
    command = loaded(name)
    assert isinstance(command, GroupedCommand)
    grouped = Counter(option for names in command.groups.values() for option in names.split())
    assert grouped == Counter(options(command))
    assert "Other:" not in help_of(name)


@pytest.mark.parametrize("name", GROUPED)
def test_help_has_examples_first_and_every_option_below_its_heading(name: str) -> None:
    command, text = loaded(name), help_of(name)
    assert isinstance(command, GroupedCommand)
    headings = [text.index(f"\n{heading}:\n") for heading in command.groups]
    assert headings == sorted(headings)
    examples = re.findall(rf"^ .*\bdcc {name} \S.*$", text[: headings[0]], re.MULTILINE)
    summary, first, *_ = text.partition("\n\n")[2].split("\n\n")
    assert len(examples) >= 3 and all(example in first for example in examples), summary
    for names, start, end in zip(
        command.groups.values(), headings, [*headings[1:], len(text)], strict=True
    ):
        for option in names.split():
            assert re.search(rf"^  .*{option}\b", text[start:end], re.MULTILINE), option
    assert text.rstrip().splitlines()[-1].strip().startswith("-h, --help")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_three_screens(name: str) -> None:
    lines = help_of(name).splitlines()
    assert len(lines) <= 3 * SCREEN and max(map(len, lines)) <= 100


def test_an_option_without_a_group_is_still_listed() -> None:
    listed = click.Option(["-a", "--alpha"], help="Listed.")
    forgotten = click.Option(["--beta/--no-beta"], help="Forgotten.")
    command = GroupedCommand("c", params=[listed, forgotten], groups={"Input": "--alpha"})
    text = command.get_help(click.Context(command, info_name="c"))
    assert re.search(r"Input:\n  -a, --alpha .*\n  --help .*\n\nOther:\n  --beta ", text), text
