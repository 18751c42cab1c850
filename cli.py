"""``dcc``: a table of commands, each imported when it is called."""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from typing import Any, NoReturn

import click

from dccnet.runtime.errors import DccError, DccWarning
from dccnet.runtime.option_types import Whole
from dccnet.runtime.standard_streams import make_streams_safe

_USUAL_WARNING = warnings.showwarning

# name -> (module in dccnet, attribute, one line for the overview)
COMMANDS = {
    "demo": (".demo.commands", "demo", "Train, export and match on photographs that pip installs."),
    "train": (".training.commands", "train", "Train a network on a list of pairs or on photographs."),
    "adapt": (
        ".training.adaptation.command",
        "adapt_command",
        "Adapt a network to pictures of one kind, without keypoints.",
    ),
    "ablate": (
        ".training.ablation.command",
        "ablate",
        "Train and score the paper's ablations as one sweep.",
    ),
    "init": (".training.commands", "init", "Write an untrained network, for timing and trials."),
    "import": (".training.commands", "import_", "Convert the authors' published checkpoint."),
    "export": (".export.commands", "export_command", "Turn a network into a bundle of ONNX graphs."),
    "export-triton": (
        ".export.triton.command",
        "export_triton_command",
        "Make a repository for Triton's server of a bundle.",
    ),
    "calibrate": (
        ".calibration.commands",
        "calibrate_command",
        "Make a bundle INT8, and say what it costs.",
    ),
    "confidence": (
        ".calibration.confidence.commands",
        "confidence_command",
        "Fit how much a bundle's matches can be trusted.",
    ),
    "build": (".runtime.commands.build", "build", "Compile a bundle to TensorRT engines."),
    "bench": (
        ".calibration.bench.commands",
        "bench_command",
        "Measure bundles and backends side by side.",
    ),
    "tune": (
        ".calibration.tuning.command",
        "tune_command",
        "Measure which engines run a bundle fastest here.",
    ),
    "doctor": (".runtime.doctor.commands", "doctor", "Check whether dcc works on this machine."),
    "info": (
        ".export.info_command",
        "info",
        "Describe a bundle, engine, graph or checkpoint.",
    ),
    "eval": (
        ".evaluation.commands",
        "eval_command",
        "Score a network on a benchmark, with any backend.",
    ),
    "compare": (
        ".evaluation.compare.command",
        "compare_command",
        "Compare evaluations of several models, pair by pair.",
    ),
    "figure": (
        ".evaluation.figures.command",
        "figure_command",
        "Draw what models find in some pairs, for a paper.",
    ),
    "data": (".evaluation.data_commands", "data", "Check or fetch a benchmark's files, or make pairs."),
    "match": (".runtime.commands.match", "match", "Find correspondences in pictures or a video."),
    "propagate": (
        ".runtime.commands.propagate",
        "propagate_command",
        "Carry annotations of a few pictures to many or to a video.",
    ),
    "align": (".runtime.commands.align", "align", "Bring one picture into the shape of another."),
    "morph": (".runtime.commands.morph", "morph", "Turn one picture into another, as a film."),
    "view": (".runtime.viewer.commands", "view", "Explore how two pictures match, on a web page."),
    "serve": (".service.commands", "serve", "Match pictures for other programs, over HTTP."),
    "models": (
        ".calibration.models.commands",
        "models",
        "List the models that come with dcc; build them.",
    ),
}


class LazyGroup(click.Group):
    """Lists names and one-line descriptions without importing the commands."""

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


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.version_option(package_name="dccnet", prog_name="dcc")
@click.option(
    "--max-pixels",
    type=Whole(1),
    metavar="N",
    help="Refuse pictures with more pixels: some kilobytes can decode to gigabytes.  [default: 178956970]",
)
@click.pass_context
def dcc(ctx: click.Context, max_pixels: int | None) -> None:
    """Semantic correspondence with DCCNet: train, export, match.

    Results go to stdout, everything else to stderr. Exit codes: 1 failure, 2 usage, 3 an export or
    engine that failed its verification, 130 interrupted.
    """
    if ctx.invoked_subcommand is not None:
        from dccnet.runtime.messages import show_messages

        show_messages()
    if max_pixels is not None:
        from dccnet.runtime.pixel_limit import set_max_pixels

        set_max_pixels(max_pixels)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def _show_warning(message: Any, category: type[Warning], *place: Any, **options: Any) -> None:
    """One line for a warning of dcc; others look as usual."""
    if issubclass(category, DccWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        _USUAL_WARNING(message, category, *place, **options)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``dcc``; an error that a user can act on becomes one sentence and an exit code."""
    # Clean-up code that runs on Ctrl-C must also run on kill, timeout and systemctl stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    make_streams_safe()
    warnings.showwarning = _show_warning
    try:
        result: Any = dcc.main(arguments, prog_name="dcc", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Abort:
        click.echo("dcc: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # of click 8.2 and later
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "dcc"
        message = error.format_message().replace("\n\t", " ")  # a list of choices
        click.echo(f"dcc: {message} (see {where} --help)", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"dcc: {error.filename or 'standard output'}: {error.strerror or error}", err=True)
        sys.stdout = None  # its remaining content cannot be flushed at exit
        sys.exit(1)
    except DccError as error:
        click.echo(f"dcc: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
