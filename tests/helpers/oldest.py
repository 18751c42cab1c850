"""The oldest versions that ``pyproject.toml`` allows, as constraints for pip.

``python -m tests.helpers.oldest EXTRA…`` prints a line for each dependency of the package and the extras.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def oldest(requirement: str) -> str:
    """``numpy>=1.26`` -> ``numpy==1.26``. Raises ``ValueError`` for a dependency without a lower bound."""
    parsed = Requirement(requirement)
    bounds = [bound.version for bound in parsed.specifier if bound.operator in (">=", "==")]
    if len(bounds) != 1:
        raise ValueError(f"{requirement!r} has no lower bound")
    return f"{parsed.name}=={bounds[0]}"


def constraints(extras: Sequence[str]) -> list[str]:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [oldest(requirement) for requirements in lists for requirement in requirements]


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))
