"""What commands print: in any encoding, with any name, and also where nobody listens."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.text import Text

from dccnet.runtime import console
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError
from dccnet.runtime.images import encode_image, write_image
from dccnet.runtime.standard_streams import make_streams_safe
from dccnet.runtime.video.sources import open_source
from dccnet.runtime.video.writer import video_writer
from tests.helpers.commands import Cli


@pytest.fixture
def pairs(tmp_path: Path, photos: list[Image]) -> Path:
    """A list whose classes look like markup of rich."""
    for name, photo in zip("ab", photos, strict=False):
        write_image(tmp_path / f"{name}.png", photo)
    rows = [f"a.png,b.png,{name},5;60,5;60,5;60,5;60" for name in ("[dog]", "[/b]", ":cat:")]
    header = "source_image,target_image,class,XA,YA,XB,YB"
    (tmp_path / "pairs[v2].csv").write_text("\n".join([header, *rows, ""]))
    return tmp_path / "pairs[v2].csv"


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-8"])
def test_a_table_is_printed_in_any_encoding(encoding: str, pairs: Path, dcc: Cli) -> None:
    arguments = ("eval", "small-1", "--benchmark", "pairs", "--data", pairs)
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = dcc(*arguments, env=environment, encoding=encoding)
    assert done.returncode == 0, done.stderr
    for text in ("[dog]", "[/b]", ":cat:", "pairs[v2].csv"):
        assert text in done.stdout
    assert ("threshold α" if encoding in ("utf-8", "cp437") else "threshold ?") in done.stdout


_CLOSED = """
import os, sys
for number in (1, 2):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "dccnet", *sys.argv[1:]])
"""


def test_a_closed_output_takes_nothing_from_the_result(tmp_path: Path, pictures: list[Path]) -> None:
    output = tmp_path / "matches.json"
    arguments = ["match", pictures[0], pictures[1], "-o", output]
    done = subprocess.run([sys.executable, "-c", _CLOSED, *map(str, arguments)], check=False)
    assert done.returncode == 0
    assert output.read_text().startswith("{")


def test_any_text_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "cp1252", write_through=True))
    monkeypatch.setattr(sys, "stderr", None)
    make_streams_safe()
    print("α ä \udcff \ud800", end="")
    print("nobody reads this", file=sys.stderr)
    assert raw.getvalue() == b"? \xe4 \xff ?"
    sys.stderr.close()


def test_messages_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("[bold]x[/bold]", "[/b] ends nothing", "a :smile: stays"):
        console.note(text)
        console.warn(text)
        console.print_wide(text, 80)
        out, err = capsys.readouterr()
        assert out == f"{text}\n" and err == f"{text}\nwarning: {text}\n"


EVIL = "\x1b]0;title\x07\x9b31m\u202egpj.png"
SHOWN = r"\x1b]0;title\x07\x9b31m\u202egpj.png"


def test_control_characters_in_names_are_escaped_once(tmp_path: Path, photos: list[Image]) -> None:
    """A terminal obeys them: they change its title, its colours, or what a line seems to say."""
    a, b, missing = (tmp_path / f"{name}{EVIL}" for name in ("a", "b", "missing"))
    for path in (a, b):
        path.write_bytes(encode_image(".png", photos[0]))
    command = [sys.executable, "-m", "dccnet", "match"]
    done = subprocess.run([*command, a, missing], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"missing{SHOWN} does not exist" in done.stderr
    assert not set("\x1b\x07\x9b\u202e") & set(done.stderr)
    # What another program reads is left as it is.
    several = [*command, a, a, b, "-o", tmp_path / "out"]
    done = subprocess.run(several, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0 and f"a{EVIL}\t" in done.stdout


def test_a_terminal_gets_control_characters_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "utf-8", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("TERM", "xterm")
    make_streams_safe()
    make_streams_safe()  # once is enough
    print(EVIL)
    sys.stdout.writelines([EVIL, "\n"])
    console.print_wide(Text(EVIL, "bold"), 80)
    written = raw.getvalue().decode()
    assert written.count(r"\x1b]0;title") == written.count(r"\x9b31m\u202egpj.png") == 3
    assert set(re.findall(r"\x1b.{0,3}", written)) == {"\x1b[1m", "\x1b[0m"}  # rich's own


def test_a_report_has_no_control_characters(pairs: Path, tmp_path: Path, dcc: Cli) -> None:
    text = pairs.read_text().replace(":cat:", "cat\x1b[31m<b>\x07")
    pairs.write_text(text)
    report = tmp_path / "out" / "report.html"
    done = dcc("eval", "small-1", "--benchmark", "pairs", "--data", pairs, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    page = report.read_text()
    assert r"cat\x1b[31m&lt;b&gt;\x07" in page and not set("\x1b\x07") & set(page + done.stdout)


def test_a_name_that_is_not_utf8_is_one_sentence(tmp_path: Path, video: Path) -> None:
    """OpenCV's videos end the process at such a name."""
    path = tmp_path / os.fsdecode(b"\xff.mp4")
    path.write_bytes(video.read_bytes())
    with pytest.raises(DccError, match="not UTF-8: rename it"):
        list(open_source(path).frames)
    with pytest.raises(DccError, match="not UTF-8: rename it"), video_writer(path, 25) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    assert path.read_bytes() == video.read_bytes()


def test_a_name_that_is_not_utf8_is_printed(tmp_path: Path, photos: list[Image]) -> None:
    for name in (b"a\xff.png", b"b.png"):
        write_image(tmp_path / os.fsdecode(name), photos[0])
    command = [sys.executable, "-m", "dccnet", "match", "b.png", "a\udcff.png", "b.png", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert b"a\xff.png\t" in done.stdout
