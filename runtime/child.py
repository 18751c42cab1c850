"""Starts modules of this package in processes of their own, whatever the current folder contains."""

from __future__ import annotations

import sys
from pathlib import Path

# ``python -m`` and ``python -c`` look for modules in the current folder first, where the user may have a
# dccnet/, a runtime.py or a json.py. ``python -P`` would prevent that, but only since Python 3.11.
# The package is loaded from its file: the folder may not be on the child's path (python -m dccnet in a
# checkout), or another dccnet may come before it. Its folder goes to the end of the path, for the child's
# own children. PYTHONSAFEPATH is -P for those, such as the helpers that multiprocessing starts by -c.
_START = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
import os
os.environ.setdefault("PYTHONSAFEPATH", "1")
from importlib.util import module_from_spec, spec_from_file_location
folder, package, module = sys.argv[1:4]
sys.path.append(folder)
spec = spec_from_file_location("dccnet", package)
sys.modules["dccnet"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["dccnet"])
del sys.argv[1:4]
import runpy
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` of this package as ``python -m`` would, with ``arguments``.

    ``module`` is a dotted name: ``dccnet`` (the command line), or ``dccnet.calibration.bench.alone``.
    Neither it nor what it imports is ever taken from the child's current folder. This works for an
    installed package, an editable installation and a checkout that is not installed.
    """
    package = Path(__file__).absolute().parents[1]  # dccnet; its runtime is a link in a checkout
    places = (str(package.parent), str(package / "__init__.py"))
    return [sys.executable, "-c", _START, *places, module, *arguments]
