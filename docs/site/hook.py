"""What the site has besides the pages in docs/: commands, the API, and files at the repository's top.

MkDocs calls these functions; ``mkdocs.yml`` names this file.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import click
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import dccnet
from dccnet.cli import COMMANDS, dcc
from dccnet.runtime.option_groups import option_name

ROOT = Path(__file__).parents[2]
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "demo/animals/README.md": "photographs.md",
}
"""Files outside docs/ that are pages, too."""


def on_config(config: Any) -> None:
    """Put the pages of the commands into the navigation."""
    (reference,) = (part["Reference"] for part in config.nav if "Reference" in part)
    entry = next(part for part in reference if "Command line" in part)
    entry["Command line"] = [{f"dcc {name}": f"reference/dcc-{name}.md"} for name in COMMANDS]


def on_files(files: Files, config: Any) -> None:
    for source, page in PAGES.items():
        text = _with_links_of_the_site((ROOT / source).read_text(encoding="utf-8"), Path(source).parent)
        files.append(File.generated(config, page, content=_nested(text)))
    for name in COMMANDS:
        files.append(File.generated(config, f"reference/dcc-{name}.md", content=_command_page(name)))
    files.append(File.generated(config, "reference/python.md", content=_python_page()))


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    return _with_links_of_the_site(markdown, Path("docs")) if page.file.generated_by is None else markdown


def on_page_content(html: str, **options: Any) -> str:
    """Docstrings have Sphinx's roles, such as ``:class:`Matcher```: only what they name is shown."""
    return re.sub(
        r":(?:class|func|meth|mod|data|attr|exc):<code>~?([^<]*)</code>", r"<code>\1</code>", html
    )


def on_post_page(output: str, page: Any, **options: Any) -> None:
    """Raise an error for a page that would load something from another host."""
    tags = re.findall(r"<(?:script|img|iframe|source)\b[^>]*>", output)
    tags += re.findall(r"<link\b[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload)\b[^>]*>", output)
    loaded = [tag for tag in tags if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag)]
    if loaded:
        raise PluginError(f"{page.file.src_path} loads from other hosts: {', '.join(loaded)}")


def _with_links_of_the_site(text: str, folder: Path) -> str:
    """Links of a file in ``folder`` of the repository, as the site needs them."""

    def link(match: re.Match[str]) -> str:
        file, mark, heading = match[1].partition("#")
        if not file or re.match(r"[a-z]+:", file):
            return match[0]
        target = (ROOT / folder / file).resolve().relative_to(ROOT.resolve())
        name = PAGES.get(target.as_posix())
        if name is None and target.parts[0] == "docs":
            name = target.relative_to("docs").as_posix()
        return match[0] if name is None else f"]({name}{mark}{heading})"

    return re.sub(r"\]\(([^)\s]+)\)", link, text)


def _nested(text: str) -> str:
    """Tables in items of lists, indented by four places, as Python's Markdown wants them."""
    return re.sub(r"^  (?=\|)", "    ", text, flags=re.M)


def _command_page(name: str) -> str:
    module, attribute, line = COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(module, "dccnet"), attribute)
    parent = click.Context(dcc, info_name="dcc", **dcc.context_settings)
    parts = _described(command, click.Context(command, parent=parent, info_name=name), level=1)
    return "\n\n".join([next(parts), line, *parts])


def _described(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """The command's help in parts of Markdown, the heading first, and that of commands below it."""
    yield f"{'#' * level} {context.command_path}"
    yield f"```text\n{command.get_usage(context)}\n```"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        as_written = paragraph.startswith("\b\n")  # click's mark
        yield f"```text\n{paragraph[2:]}\n```" if as_written else escape(paragraph, quote=False)
    records = {
        option_name(param): param.get_help_record(context)
        for param in command.get_params(context)
        if isinstance(param, click.Option)
    }
    groups = getattr(command, "groups", {}) | {"": ""}
    for title, names in groups.items():
        listed = [records.pop(name) for name in names.split()] if title else list(records.values())
        yield f"**{title}**" if title else ""
        yield "<dl>" + "".join(map(_option, filter(None, listed))) + "</dl>"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _described(inner, click.Context(inner, parent=context, info_name=name), level + 1)


def _option(record: tuple[str, str]) -> str:
    names, text = (escape(part, quote=False) for part in record)
    return f"<dt><code>{names}</code></dt><dd>{text}</dd>"


def _python_page() -> str:
    """Every public name of the package, from its docstring."""
    names = [name for name in dccnet.__all__ if inspect.isclass(getattr(dccnet, name))]
    names += [name for name in dccnet.__all__ if name not in names]
    parts = [
        "# Python\n\nThe names of the package `dccnet`. Pixels are 0-based, (x, y), x right, y down; sizes "
        "are (height, width). [In your program](../embedding.md) has examples.\n"
    ]
    parts += [f"::: {_place(name)}\n" for name in names]
    return "\n".join(parts)


def _place(name: str) -> str:
    value = getattr(dccnet, name)
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return {"PRESETS": "dccnet.network.config.PRESETS"}[name]
