"""``dcc``: a table of commands, each loaded from its room when it is called."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any, NoReturn

import click

# name -> (module of dccnet, attribute, one line for the overview)
COMMANDS = {
    "demo": (".demo.commands", "demo", "Train, export and match on photographs that pip brings."),
    "train": (".training.commands", "train", "Train a network on a list of pairs or on photographs."),
    "ablate": (
        ".training.ablation.command",
        "ablate",
        "Train and score the paper's ablations as one sweep.",
    ),
    "init": (".training.commands", "init", "Write an untrained network, for timing and trials."),
    "import": (".training.commands", "import_", "Convert the authors' published checkpoint."),
    "export": (".export.commands", "export_command", "Turn a network into a bundle of ONNX graphs."),
    "calibrate": (
        ".calibration.commands",
        "calibrate_command",
        "Make a bundle INT8, and say what it costs.",
    ),
    "build": (".runtime.commands.build", "build", "Compile a bundle to TensorRT engines."),
    "bench": (
        ".calibration.bench.commands",
        "bench_command",
        "Measure bundles and backends side by side.",
    ),
    "doctor": (".runtime.doctor.commands", "doctor", "Say whether dcc works on this machine."),
    "info": (
        ".runtime.doctor.commands",
        "info",
        "Say what a bundle, engine, graph or checkpoint is.",
    ),
    "eval": (
        ".evaluation.commands",
        "eval_command",
        "Score a network on a benchmark, in any backend.",
    ),
    "data": (".evaluation.data_commands", "data", "Check or fetch a benchmark's files."),
    "match": (".runtime.commands.match", "match", "Find correspondences in pictures or a video."),
    "view": (".runtime.viewer.commands", "view", "Explore how two pictures match, on a web page."),
}


class LazyGroup(click.Group):
    """Names and one-liners without importing what is behind them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module, "dccnet"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dccnet", prog_name="dcc")
def dcc() -> None:
    """Semantic correspondence with DCCNet: train, export, match.

    Results go to stdout, everything else to stderr. Exit codes: 1 failure, 2 usage, 3 an export or
    engine that is not what it was asked to be, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``dcc``; an error that a user can act on becomes one sentence and an exit code."""
    # So that what cleans up after Ctrl-C also does after kill, timeout and systemctl stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        result: Any = dcc.main(arguments, prog_name="dcc", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Abort:
        click.echo("dcc: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "dcc"
        click.echo(f"dcc: {error.format_message()} (see {where} --help)", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"dcc: {error.filename or 'standard output'}: {error.strerror or error}", err=True)
        sys.stdout = None  # what is left in it cannot be flushed
        sys.exit(1)
    except Exception as error:
        from dccnet.runtime.errors import DccError  # imports NumPy and OpenCV: not before it is needed

        if not isinstance(error, DccError):
            raise
        click.echo(f"dcc: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
