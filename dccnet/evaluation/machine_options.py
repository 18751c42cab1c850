"""Options of commands that run checkpoints and bundles: those of :class:`BackendChoice`."""

from __future__ import annotations

import click

from dccnet.runtime.option_types import Function, bf16_option, threads_option, trust_engine_option

MACHINE = "--backend --device --provider --tf32 --bf16 --trust-engine --threads"
"""The options of :func:`machine_options`, as a group of ``--help``."""


def machine_options(function: Function) -> Function:
    """Add the options whose values are the fields of a ``BackendChoice`` to a command."""
    for decorate in reversed(
        [
            click.option(
                "--backend",
                type=click.Choice(["auto", "pytorch", "onnxruntime", "openvino", "tensorrt"]),
                default="auto",
                show_default=True,
                help="What runs the network.",
            ),
            click.option(
                "--device", default="auto", show_default=True, help="Where to run it: cpu, cuda or cuda:N."
            ),
            click.option(
                "--provider", type=click.Choice(["cpu", "cuda"]), help="Execution provider of ONNX Runtime."
            ),
            click.option(
                "--tf32", is_flag=True, help="Let a GPU multiply float32 with ten bits of mantissa."
            ),
            bf16_option,
            trust_engine_option,
            threads_option,
        ]
    ):
        function = decorate(function)
    return function
