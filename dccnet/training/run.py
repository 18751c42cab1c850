"""Start, resume and check training runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dccnet.evaluation.pck import DESCRIPTIONS
from dccnet.network.config import ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.network.precision import set_tf32
from dccnet.runtime.errors import UsageError
from dccnet.runtime.locks import folder_lock
from dccnet.runtime.messages import note, warn
from dccnet.training.autotune import COMPILED_FIRST, lowering_here, lowering_of_run, refuse_missing
from dccnet.training.cpu import keep_loops_private
from dccnet.training.datasets import Datasets, datasets
from dccnet.training.experiments.logs import ExperimentLogs, experiment_logs, refuse_missing_logs
from dccnet.training.initial import apply_start, initialise
from dccnet.training.processes import Processes, processes
from dccnet.training.reporting import NullReport, RunReport
from dccnet.training.settings import RunFolder, TrainSettings, digests, new_run_folder, with_absolute_paths
from dccnet.training.state import Progress
from dccnet.training.trainer import Trainer
from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint


def start_run(path: str, config: ModelConfig, options: Mapping[str, Any]) -> tuple[RunFolder, Progress]:
    """Train a new network in the folder ``path``; returns the folder and the final progress.

    ``options`` are fields of :class:`TrainSettings`; with ``from_checkpoint``, ``config`` is that of the
    checkpoint. Raises :class:`DccError` for settings, lists or weights that cannot be used.
    """
    settings = TrainSettings(**options)
    with processes(settings.device) as group:
        _prepare(settings, group)
        if group.first:
            refuse_missing_logs(settings.log)
        data = datasets(config, settings, group)
        with _locked(path, group):
            folder = new_run_folder(path)
            group.wait()  # until all processes have checked that the folder is free
            torch.manual_seed(settings.seed)
            model = _network(config, settings)
            lowering = lowering_of_run(settings.conv4d, model, settings.batch_size, group)
            settings = with_absolute_paths(dataclasses.replace(settings, conv4d=lowering))
            if settings.from_checkpoint is None:
                both_ways = settings.opposite > 0
                initialise(model, settings.weights, settings.start, both_ways, tell=group.first)
            _unfreeze(model, settings.finetune_blocks)
            with _logs(folder, settings, group, resume=False) as logs:
                if group.first:
                    save_checkpoint(model, folder.start)
                    # From now on, the run can be resumed.
                    folder.write_config(config, settings, data.left_out)
                return folder, _train(model, data, settings, folder, group, logs, resume=False)


def resume_run(
    path: str,
    epochs: int | None,
    device: str | None = None,
    moved: Mapping[str, str] | None = None,
    log: tuple[str, ...] | None = None,
) -> tuple[RunFolder, Progress]:
    """Continue the run in ``path``; returns the folder and the final progress.

    ``epochs`` (in total), ``device`` and ``log`` replace the stored settings if given. ``moved`` has new
    paths of lists and folders, by the name of the setting. The number of processes may change. A run that
    was stopped before its first save begins again. Raises :class:`CheckpointError` if there is no run, or a
    damaged one, :class:`UsageError` for lists with another content than before, and :class:`DccError` if
    another process trains in the folder.
    """
    folder = RunFolder(Path(path))
    stored = folder.read_config()
    config, settings = stored.model, stored.training
    changes: dict[str, Any] = {
        "epochs": epochs or settings.epochs,
        "device": device or settings.device,
        "log": settings.log if log is None else log,
    }
    settings = with_absolute_paths(dataclasses.replace(settings, **(changes | dict(moved or {}))))
    for name, digest in digests(settings).items():
        if stored.lists.get(name, digest) != digest:
            raise UsageError(
                f"{getattr(settings, name)} is not the list that the run was started with (--{name}): name "
                "that list, or start a new run"
            )
    with processes(settings.device) as group:
        _prepare(settings, group)
        data = datasets(config, settings, group, stored.left_out)
        with _locked(path, group):
            model = load_checkpoint(folder.start)  # for the backbone; the state has the trained weights
            _unfreeze(model, settings.finetune_blocks)
            if group.first:
                folder.write_config(config, settings, data.left_out)
            with _logs(folder, settings, group, resume=True) as logs:
                return folder, _train(model, data, settings, folder, group, logs, resume=True)


def _logs(
    folder: RunFolder, settings: TrainSettings, group: Processes, *, resume: bool
) -> contextlib.AbstractContextManager[ExperimentLogs]:
    """The experiment logs of the run in the first process, none in the others."""
    if not group.first:
        return contextlib.nullcontext(ExperimentLogs())
    return experiment_logs(folder, settings.log, resume=resume)


def _locked(path: str, group: Processes) -> contextlib.AbstractContextManager[None]:
    """Lock the run's folder in the first process, which writes the files."""
    return _run_lock(path) if group.first else contextlib.nullcontext()


def _run_lock(path: str) -> contextlib.AbstractContextManager[None]:
    return folder_lock(Path(path), f"another process is training in {path}", "wait for it or stop it", warn)


def check_free(path: str) -> None:
    """Raise :class:`DccError` if another process is training in the folder ``path``."""
    with _run_lock(path):
        pass


def check_run(path: str, config: ModelConfig, options: Mapping[str, Any]) -> None:
    """Raise the :class:`DccError` that :func:`start_run` would raise before it trains."""
    settings = TrainSettings(**options)
    refuse_missing_logs(settings.log)
    gpu = settings.device != "cpu" and torch.cuda.device_count() > 0
    refuse_missing(settings.conv4d, torch.device("cuda" if gpu else "cpu"))
    datasets(config, settings, tell=False)  # the run itself says it
    new_run_folder(path)
    check_free(path)
    model = _network(config, settings)
    _unfreeze(model, settings.finetune_blocks)
    if settings.from_checkpoint is None:
        apply_start(model, settings.start, both_ways=settings.opposite > 0)


def _network(config: ModelConfig, settings: TrainSettings) -> DCCNet:
    """A new network, or that of ``from_checkpoint``, whose configuration ``config`` must be.

    Raises :class:`CheckpointError`, and :class:`UsageError` for another configuration, and for weights of
    losses that it does not have.
    """
    if settings.branch_weights != (1, 1) and not config.auxiliary_loss:
        raise UsageError(
            "--lambda and --gamma weigh the branches' own losses, which this network is trained without: "
            "remove them, or choose a network with auxiliary_loss"
        )
    if settings.from_checkpoint is None:
        return DCCNet(config)
    model = load_checkpoint(settings.from_checkpoint)
    if model.config != config:
        raise UsageError(f"{settings.from_checkpoint} is another network than the one to train")
    return model


def _unfreeze(model: DCCNet, blocks: int) -> None:
    try:
        model.backbone.unfreeze(blocks)
    except ValueError as error:
        raise UsageError(f"--finetune-blocks: {error}") from error


def _precision(settings: TrainSettings) -> str:
    wide = "TF32" if settings.tf32 else "float32"
    return wide if settings.precision == "fp32" else f"bfloat16, and {wide} in sensitive steps"


def _prepare(settings: TrainSettings, group: Processes) -> None:
    """Choose what holds for the whole process, before anything is compiled, computed or timed."""
    keep_loops_private()
    set_tf32(settings.tf32)
    if group.device.type == "cuda":
        torch.backends.cudnn.deterministic = True


def _train(
    model: DCCNet,
    data: Datasets,
    settings: TrainSettings,
    folder: RunFolder,
    group: Processes,
    logs: ExperimentLogs,
    *,
    resume: bool,
) -> Progress:
    if group.first:
        note(
            f"{len(data.training)} training pairs, {len(data.validation)} validation pairs; "
            f"PCK@{settings.alpha:g} {settings.protocol}: {DESCRIPTIONS[settings.protocol]}"
        )
        if group.device.type == "cuda":
            note(f"{torch.cuda.get_device_name(group.device)}, {_precision(settings)}")
    lowering = lowering_here(settings.conv4d, model, group.device)
    if group.first and lowering in COMPILED_FIRST:
        note(
            f"4D convolutions: {lowering}; the first step compiles them, which takes some seconds, unless "
            "an earlier run did"
        )
    model.lower(TRAINING_LOWERINGS[lowering])
    trainer = Trainer(model, data.training, data.validation, settings, folder, group)
    if resume and not folder.state.exists():
        if group.first:
            note("the run was stopped before its first save: it begins again")
    elif resume:
        trainer.restore()
        if group.first and trainer.progress.epoch >= settings.epochs:
            note(f"the run has finished its {settings.epochs} epochs: train more with --epochs")
    with RunReport(folder, settings, trainer.progress, logs) if group.first else NullReport() as report:
        return trainer.run(report)
