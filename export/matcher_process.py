"""A second process, which traces the matcher while the first one traces the encoder: this module, run.

Tracing takes one core, and so does loading PyTorch. The process is therefore started before its parent
loads anything; it loads the exporter and waits on its standard input for what to trace. It reads no file,
writes only those that it is told to, and ends when its parent does, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dccnet.runtime.child import child_command
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.garbage import no_garbage_collection

if TYPE_CHECKING:
    from dccnet.export.graphs import MatcherGraph

_LONGEST = 300
"""Characters of an error that the process reports: more could fill the pipe, which nobody reads yet."""


class MatcherProcess:
    """The parent's side: at most one :meth:`start`, then :meth:`wait`; :meth:`close` in any case."""

    def __init__(self) -> None:
        """Start the process. Raises ``OSError`` where the system starts none."""
        self._process = subprocess.Popen(
            child_command("dccnet.export.matcher_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def start(self, matcher: MatcherGraph, files: dict[str, Path]) -> None:
        """Begin to write the graph with each lowering to its file; ``files`` are by the lowering's name."""
        import torch
        from safetensors.torch import save

        model = matcher.model
        # The backbone, most of a network, is not the matcher's.
        used = {name: x for name, x in model.state_dict().items() if not name.startswith("backbone.")}
        weights = save({name: tensor.contiguous() for name, tensor in used.items()})
        job = {
            "config": model.config.to_json(),
            "half": model.feature_dtype == torch.float16,
            "outputs": {"heatmaps": matcher.heatmaps, "maps": matcher.maps},
            "files": {name: str(path.absolute()) for name, path in files.items()},
            "bytes": len(weights),
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: wait() says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n" + weights)
            self._process.stdin.flush()

    def wait(self) -> str | None:
        """Return when all files are written; or else why they are not."""
        code = self._process.wait()  # with its input open, whose end would stop it
        assert self._process.stdout is not None
        said = self._process.stdout.read().decode(errors="replace").strip()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return None if code == 0 else said or how

    def close(self) -> None:
        """End the process, if it still runs."""
        with contextlib.suppress(BrokenPipeError), self._process:  # it may not have read all of its job
            self._process.kill()


def second_process(checkpoint: Path) -> MatcherProcess | None:
    """A process for the export of this file, or None where it would save no time: on one core.

    ``OMP_NUM_THREADS=1``, by which users give PyTorch one core, counts as one.
    """
    if usable_cores() == 1 or os.environ.get("OMP_NUM_THREADS") == "1" or not checkpoint.is_file():
        return None
    try:
        return MatcherProcess()
    except OSError:  # such as a limit on the number of processes
        return None


def _main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    jobs: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs), daemon=True).start()
    code = 1
    try:
        _load_exporter()
        _trace(*jobs.get())
        code = 0
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        print(said[:_LONGEST], file=answers, flush=True)
    finally:
        os._exit(code)  # the other thread still reads, which Python does not end with


def _listen(stream: IO[bytes], jobs: queue.SimpleQueue[tuple[dict[str, Any], bytes]]) -> None:
    """Receive the job; end this process at once when the parent has gone."""
    if line := stream.readline():
        job = json.loads(line)
        jobs.put((job, stream.read(job["bytes"])))
        stream.read()  # returns when the parent closes its end, or is killed
    os._exit(1)


def _load_exporter() -> None:
    """Import what tracing needs, and what PyTorch imports only when it traces for the first time."""
    with no_garbage_collection():
        import onnxscript
        import torch

        from dccnet.export import onnx_file

        torch.export.export(torch.nn.Identity(), (torch.zeros(1),), strict=False)
        del onnxscript, onnx_file


def _trace(job: dict[str, Any], weights: bytes) -> None:
    from safetensors.torch import load

    from dccnet.export.graphs import MatcherGraph
    from dccnet.export.onnx_file import save_onnx
    from dccnet.network.config import ModelConfig
    from dccnet.network.conv4d import EXPORT_LOWERINGS
    from dccnet.network.model import DCCNet

    model = DCCNet(ModelConfig.from_json(job["config"])).eval()
    model = model.in_half() if job["half"] else model
    model.load_state_dict(model.state_dict() | load(weights))
    for name, path in job["files"].items():
        model.lower(EXPORT_LOWERINGS[name])
        save_onnx(MatcherGraph(model, **job["outputs"]), Path(path))


if __name__ == "__main__":
    _main()
