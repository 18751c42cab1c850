"""What benchmarks/gpu_matching.py and gpu_training.py share: guarded measurements, timing, precisions."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS, Lowering
from dccnet.network.model import DCCNet
from dccnet.weights.pretrained import load_backbone_weights

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, Any]
TINY = ModelConfig(
    backbone="resnet18", image_size=(48, 32), context_kernel=5, context_channels=24,
    consensus_kernels=(3, 3), consensus_channels=(16, 1),
)  # fmt: skip


class Rows:
    """Measurements, each guarded: one that fails is reported, and the next one runs.

    All rows are written to ``path`` after each of them, so that a run that is stopped loses nothing.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.end, self.rows = path, time.monotonic() + seconds, list[Row]()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, work: Callable[[], Row], needs: float = 5) -> None:
        """Measure and report; ``needs`` is the seconds that must be left of the budget."""
        started = time.monotonic()
        row: Row = {"row": name}
        if self.end - started < needs:
            row["skipped"] = "no time left: raise --budget"
        else:
            try:
                row |= work()
            except Exception as error:  # a row must not end the run
                row["failed"] = f"{type(error).__name__}: {error}"[:300]
                if isinstance(error, torch.cuda.OutOfMemoryError):
                    torch.cuda.empty_cache()
        row["took_s"] = time.monotonic() - started
        self.rows.append(row)
        self.path.write_text(json.dumps(self.rows, indent=1, default=str) + "\n", encoding="utf-8")
        print(_line(row), flush=True)

    def table(self) -> str:
        """One line per row."""
        return "\n".join(map(_line, self.rows))


def _line(row: Row) -> str:
    values = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in list(row.items())[1:])
    return f"{row['row']:44} {'  '.join(values)}"


class Bench:
    """The device, and how work on it is timed."""

    def __init__(self, device: str, tiny: bool) -> None:
        self.device, self.tiny, self.gpu = torch.device(device), tiny, device == "cuda"

    def network(self) -> DCCNet:
        """The paper's network (or a tiny one), with random weights."""
        torch.manual_seed(0)
        model = DCCNet(TINY if self.tiny else PRESETS["dccnet"])
        load_backbone_weights(model.backbone, model.config.backbone, "random")
        return model

    def ms(self, work: Callable[[], object], seconds: float = 0.4, least: int = 3, most: int = 60) -> Row:
        """Median milliseconds of ``work``, by CUDA events on a GPU."""
        work()
        values: list[float] = []
        began = time.monotonic()
        while len(values) < least or (len(values) < most and time.monotonic() - began < seconds):
            values.append(self._timed(work))
        return {"ms": statistics.median(values), "min_ms": min(values), "max_ms": max(values)}

    def _timed(self, work: Callable[[], object]) -> float:
        if not self.gpu:
            began = time.perf_counter()
            work()
            return 1000 * (time.perf_counter() - began)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def graph_ms(self, work: Callable[[], object]) -> Row:
        """The same, called from Python and, on a GPU, replayed as a CUDA graph."""
        found = self.ms(work)
        if not self.gpu:
            return found
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            work()
        return found | {"graph_ms": self.ms(captured.replay)["ms"]}

    def peak_gb(self, work: Callable[[], object]) -> float | None:
        """Peak memory beyond what is in use already; None on a CPU."""
        if not self.gpu:
            work()
            return None
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e9


@contextlib.contextmanager
def precision(kind: str) -> Iterator[None]:
    """``fp32`` forbids TF32; any other kind allows it in convolutions, which is PyTorch's default."""
    backends: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend, allowed in zip(backends, (False, kind != "fp32"), strict=True):
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def lowering_named(name: str) -> Lowering:
    """A lowering, or the authors' slice loop."""
    from slice_loop import SliceLoop

    return SliceLoop() if name == "slice loop" else TRAINING_LOWERINGS[name]


def error(found: torch.Tensor, true: torch.Tensor) -> float:
    """Norm of the difference, relative to the norm of ``true``."""
    return float((found.double() - true.double()).norm() / true.double().norm())


def environment() -> Row:
    """Card, driver, versions and commit."""
    row: Row = {"python": platform.python_version()}
    for name in ("torch", "triton", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            row[name] = metadata.version(name)
    if torch.cuda.is_available():
        row["card"] = torch.cuda.get_device_name()
        row["driver"] = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    row["commit"] = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    row["changed"] = bool(_output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"))
    return row


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def run(
    description: str, name: str, seconds: float, measure: Callable[[Rows, Bench], None], argv: Sequence[str]
) -> Rows:
    """Parse the options that all scripts have, measure, and print the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--budget", type=float, default=seconds, help=f"seconds [default: {seconds:g}]")
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="folder for the JSON file")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, to try the script itself")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("nothing was measured: PyTorch finds no GPU; --device cpu --tiny tries the script")
    rows = Rows(options.out / f"{name}.json", options.budget)
    rows.add("environment", environment, 0)
    measure(rows, Bench(options.device, options.tiny))
    print(f"\n{rows.table()}\nwrote {rows.path}")
    return rows
