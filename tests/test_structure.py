"""Which room may import which, and that no two files import each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

ROOMS = {
    "runtime": set(),
    "dccnet": {"runtime"},
    "export": {"dccnet", "runtime"},
    "calibration": {"export", "dccnet", "runtime"},
    "demo": {"export", "dccnet", "runtime"},
    "cli.py": {"runtime"},
}
"""Each room, and those that it may import. ``cli.py`` names all others, and loads one when it is called."""
LINKED = ("runtime", "export", "calibration", "demo", "cli.py")
"""Links in the package ``dccnet`` to the folders at the top."""
FORBIDDEN = {
    "runtime": {"torch", "torchvision", "onnx", "safetensors"},
    "dccnet/network": {"onnx", "onnxruntime", "click", "rich", "cv2"},
    "dccnet/weights": {"onnx", "onnxruntime", "click", "rich", "cv2"},
    "dccnet/training": {"onnx", "onnxruntime"},
    "dccnet/evaluation": {"onnx", "onnxruntime"},
    "dccnet/integrations": {"torch", "onnx", "onnxruntime"},
    "dccnet/service": {"torch", "onnx", "onnxruntime"},
    "export/bundles": {"torch"},
    "export/triton": {"torch", "onnxruntime"},
    "calibration": {"torch"},
}
METHOD = {"dccnet/network": {"dccnet/network"}, "dccnet/weights": {"dccnet/network", "runtime"}}
"""The method imports nothing but itself."""
ALONE = {"dccnet/service": {"runtime"}}
"""What a part of ``dccnet`` may import that uses no other part of it."""


def files(place: str) -> list[Path]:
    """Python files of a room, without those behind links."""
    path = ROOT / place
    if path.is_file():
        return [path]
    found = (p for p in path.rglob("*.py") if p.name != "__main__.py")  # which is a door, not a room
    return [p for p in found if not any(q.is_symlink() for q in (p, *p.parents) if q != ROOT)]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of what a file imports at run time, wherever in it."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if file_of(deeper) else str(node.module)
        pending += ast.iter_child_nodes(node)


def file_of(name: str) -> Path | None:
    """The file in the repository that a dotted name of the package means."""
    path = ROOT / name.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate.resolve()
    return None


def place_of(path: Path) -> str:
    """Such as ``runtime``, or ``dccnet/network``."""
    parts = path.resolve().relative_to(ROOT).parts
    return "/".join(parts[:2]) if parts[0] == "dccnet" and len(parts) > 2 else parts[0]


def targets(place: str) -> set[Path]:
    found = (file_of(name) for path in files(place) for name in imports(path))
    return {path for path in found if path is not None}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    reached = {place_of(path).split("/")[0] for path in targets(room)}
    assert reached - {room} <= ROOMS[room]


@pytest.mark.parametrize("place", METHOD | ALONE)
def test_parts_know_nothing_around_them(place: str) -> None:
    assert {place_of(path) for path in targets(place)} <= (METHOD | ALONE)[place] | {place}


@pytest.mark.parametrize("place", FORBIDDEN)
def test_places_leave_libraries_to_others(place: str) -> None:
    libraries = {name.split(".")[0] for path in files(place) for name in imports(path)}
    assert not libraries & FORBIDDEN[place]


def test_no_room_is_left_out_and_every_link_is_right() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == {room for room in ROOMS if not room.endswith(".py")}
    links = {p.name: p for p in (ROOT / "dccnet").iterdir() if p.is_symlink()}
    assert set(links) == set(LINKED)
    assert all(str(p.readlink()) == f"../{name}" for name, p in links.items())


def test_no_circles() -> None:
    """Between files, imports within functions included."""
    graph = {
        path.resolve(): {t for name in imports(path) if (t := file_of(name)) not in (None, path.resolve())}
        for room in ROOMS
        for path in files(room)
    }
    finished: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, " -> ".join(str(p.relative_to(ROOT)) for p in (*trail, path))
        if path not in finished:
            for target in graph.get(path, ()):
                visit(target, (*trail, path))
            finished.add(path)

    for path in graph:
        visit(path, ())


@pytest.mark.parametrize(
    "statement", ["import dccnet", "from dccnet import Matcher", "import dccnet.runtime"]
)
def test_matching_needs_no_torch_in_the_process(statement: str) -> None:
    heavy = "{'torch', 'onnxruntime', 'click', 'rich'}"
    code = f"import sys; {statement}; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("module", ["matcher", "commands.match"])
def test_matching_loads_no_code_for_transfers(module: str) -> None:
    transfers = "{'tarfile', 'dccnet.runtime.models.fetching'}"
    code = f"import sys, dccnet.runtime.{module}; assert not {transfers} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_options_of_eval_need_only_click() -> None:
    code = "import sys, dccnet.evaluation.commands; assert not {'numpy', 'rich', 'cv2'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there_and_no_other() -> None:
    import dccnet

    assert all(getattr(dccnet, name) is not None for name in dccnet.__all__)
    assert set(dccnet.__all__) <= set(dir(dccnet))
    with pytest.raises(AttributeError, match="no attribute 'Matchers'"):
        dccnet.Matchers  # noqa: B018
