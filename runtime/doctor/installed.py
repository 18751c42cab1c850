"""What pip installed: whether an extra of dcc is complete, and wheels that overwrite each other."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from dccnet.runtime.doctor.check import Check, first_line

SHARED = {"onnxruntime": "onnxruntime", "cv2": "opencv"}
"""A module folder that several distributions own, and how their names begin."""
_REQUIREMENT = re.compile(r"([\w.-]+)(?:[=>]=([\d.]+))?.*extra == ['\"](\w+)['\"]")


def complete(extra: str, name: str) -> Check:
    """Whether all that an extra asks for is there. By metadata, since importing torch takes seconds."""
    wanted = oldest_versions(extra)
    if not wanted:
        return Check(name, "absent", "unknown, since dcc is not installed")
    found, lacking = [], []
    for package, oldest in wanted.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            lacking.append(package)
            continue
        found.append(f"{package} {version}")
        if numbers(version) < oldest:
            lacking.append(f"{package} {dotted(oldest)} in place of {version}")
    if lacking:
        return Check(name, "absent", f"lacks {', '.join(lacking)}", f"pip install {dccnet(extra)}")
    return Check(name, "ok", ", ".join(found))


def oldest_versions(extra: str) -> dict[str, tuple[int, ...]]:
    """Of the packages that the extra asks for; empty where dcc itself is not installed."""
    try:
        requirements = metadata.requires("dccnet") or []
    except metadata.PackageNotFoundError:
        return {}
    found = [match for text in requirements if (match := _REQUIREMENT.match(text))]
    return {match[1]: numbers(match[2] or "") for match in found if match[3] == extra}


def numbers(version: str) -> tuple[int, ...]:
    """``2.9.1+cu130`` -> (2, 9, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def dccnet(extra: str) -> str:
    """As pip takes it from a shell."""
    return f"'dccnet[{extra}]'"


def install_for_gpu() -> str:
    """The command; ONNX Runtime's wheel for the CPU has to go first."""
    away = "pip uninstall -y onnxruntime && " if "onnxruntime" in owners("onnxruntime") else ""
    return f"{away}pip install {dccnet('gpu')}"


def load(name: str, module: str, source: str) -> tuple[Any, Check | None]:
    """A module, or the check that says why it cannot be had; ``source`` is what pip brings it with."""
    try:
        return importlib.import_module(module), None
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return None, Check(name, "absent", f"not installed; comes with {source}")
        return None, Check(name, "problem", first_line(error), f"pip install --force-reinstall {source}")


def owners(module: str) -> list[str]:
    """Installed distributions that say the folder of ``module`` is theirs."""
    found = set()
    for distribution in metadata.distributions():
        name = str(distribution.metadata["Name"]).lower().replace("_", "-")
        files = distribution.files if name.startswith(SHARED[module]) else None
        if any(file.parts[0] == module for file in files or ()):
            found.add(name)
    return sorted(found)


def shared_module(name: str, module: str, attribute: str, keep: str) -> tuple[Any, Check | None]:
    """A module of :data:`SHARED`, and what is wrong with it.

    Of several wheels the last one installed wins, and uninstalling one takes files of the others: their
    metadata stays, and perhaps a folder that can be imported but lacks ``attribute``. ``keep`` is the
    wheel that is right for this machine.
    """
    found = owners(module)
    loaded, fault = load(name, module, keep)
    if fault is None and not hasattr(loaded, attribute):
        fault = Check(name, "problem", f"{module} has lost its {attribute}")
    if len(found) < 2 and (fault is None or (fault.status == "absent" and not found)):
        return loaded, fault
    wrong = [f"{' and '.join(found)} overwrite each other"] if len(found) > 1 else []
    if fault is not None:
        wrong.append(f"{' and '.join(found) or module} cannot be used: {fault.value}")
    return loaded, Check(name, "problem", "; ".join(wrong), reinstall(found, keep))


def reinstall(found: Sequence[str], keep: str) -> str:
    """The command after which ``keep``, and no other of the wheels found, is whole."""
    if list(found) in ([], [keep]):
        return f"pip install --force-reinstall {keep}"
    return f"pip uninstall -y {' '.join(found)} && pip install {keep}"
