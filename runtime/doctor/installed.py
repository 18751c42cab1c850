"""The packages that pip installed: extras of dcc, and wheels that overwrite each other."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from dccnet.runtime.doctor.check import CheckResult, first_line
from dccnet.runtime.extras import install

SHARED = {"onnxruntime": "onnxruntime", "cv2": "opencv"}
"""Modules that several distributions install, and how the names of these distributions begin."""
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?(?:[=>]=([\d.]+))?(?:.*extra == ['\"](\w+)['\"])?")


def check_extra(extra: str, name: str) -> CheckResult:
    """Check an extra's packages by their metadata, since importing torch takes seconds."""
    wanted = oldest_versions(extra)
    if not wanted:
        return CheckResult(name, "absent", "unknown, since dcc is not installed")
    found = {package: _installed(package) for package in wanted}
    missing = [
        package if version is None else f"{package} {version_text(wanted[package])} in place of {version}"
        for package, version in found.items()
        if version is None or version_numbers(version) < wanted[package]
    ]
    if missing:
        return CheckResult(name, "absent", f"needs {', '.join(missing)}", install(extra))
    return CheckResult(name, "ok", _listed(found))


def check_required(name: str) -> CheckResult:
    """Check the packages that every installation needs."""
    wanted = oldest_versions(None)
    if not wanted:
        return CheckResult(name, "absent", "unknown, since dcc is not installed")
    # One that is missing may come with another wheel: cv2 with opencv-python.
    found = {package: version for package in wanted if (version := _installed(package)) is not None}
    old = [f"'{p}>={version_text(wanted[p])}'" for p, v in found.items() if version_numbers(v) < wanted[p]]
    if old:
        value = f"{_listed(found)}: older than dcc allows"
        return CheckResult(name, "problem", value, f"pip install {' '.join(old)}")
    return CheckResult(name, "ok", _listed(found))


def _installed(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _listed(versions: Mapping[str, str | None]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def oldest_versions(extra: str | None) -> dict[str, tuple[int, ...]]:
    """Oldest version of each package that the extra, or without one the package itself, requires.

    Empty where dcc is not installed.
    """
    try:
        requirements = metadata.requires("dccnet") or []
    except metadata.PackageNotFoundError:
        return {}
    matches = [match for text in requirements if (match := _REQUIREMENT.match(text))]
    return {match[1]: version_numbers(match[2] or "") for match in matches if match[3] == extra}


def version_numbers(version: str) -> tuple[int, ...]:
    """``2.9.1+cu130`` -> (2, 9, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def version_text(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def gpu_install_command() -> str:
    """The command that installs the GPU extra, after removing ONNX Runtime's wheel for the CPU."""
    uninstall = "pip uninstall -y onnxruntime && " if "onnxruntime" in owners("onnxruntime") else ""
    return uninstall + install("gpu")


def try_import(name: str, module: str, source: str) -> tuple[Any, CheckResult | None]:
    """A module, or the result that says why it cannot be imported.

    ``source`` is the requirement that pip installs it with.
    """
    try:
        return importlib.import_module(module), None
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return None, CheckResult(name, "absent", f"not installed; comes with {source}")
        cure = f"pip install --force-reinstall {source}"
        return None, CheckResult(name, "problem", first_line(error), cure)


def owners(module: str) -> list[str]:
    """Installed distributions whose metadata lists files in the folder of ``module``."""
    found = set()
    for distribution in metadata.distributions():
        name = str(distribution.metadata["Name"]).lower().replace("_", "-")
        files = distribution.files if name.startswith(SHARED[module]) else None
        if any(file.parts[0] == module for file in files or ()):
            found.add(name)
    return sorted(found)


def import_shared(name: str, module: str, attribute: str, keep: str) -> tuple[Any, CheckResult | None]:
    """A module of :data:`SHARED`, and the result that says what is wrong with it.

    If several wheels are installed, the last one has overwritten the others. Uninstalling one of them
    removes files of the others: their metadata stays, and perhaps a folder that can be imported but has no
    ``attribute``. ``keep`` is the right wheel for this machine.
    """
    found = owners(module)
    loaded, fault = try_import(name, module, keep)
    if fault is None and not hasattr(loaded, attribute):
        fault = CheckResult(name, "problem", f"{module} has no {attribute}: parts of it are missing")
    if len(found) < 2 and (fault is None or (fault.status == "absent" and not found)):
        return loaded, fault
    wrong = [f"{' and '.join(found)} overwrite each other"] if len(found) > 1 else []
    if fault is not None:
        wrong.append(f"{' and '.join(found) or module} cannot be used: {fault.value}")
    return loaded, CheckResult(name, "problem", "; ".join(wrong), reinstall_command(found, keep))


def reinstall_command(found: Sequence[str], keep: str) -> str:
    """The command that leaves ``keep`` complete, and none of the other wheels in ``found``."""
    if list(found) in ([], [keep]):
        return f"pip install --force-reinstall {keep}"
    return f"pip uninstall -y {' '.join(found)} && pip install {keep}"
