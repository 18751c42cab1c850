"""Training of the adapter: features of matching cells of different pictures become more alike.

A network's own matches that agree among themselves are learnt from, in views of the pictures that it has
not seen (self-training); pairs of views of one picture, whose warp is known, keep features exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Floats
from dccnet.runtime.errors import DataError, UsageError
from dccnet.training.adaptation.labels import Labels, label
from dccnet.training.adaptation.settings import AdaptSettings
from dccnet.training.features import FeatureCache
from dccnet.training.schedule import warm_cosine
from dccnet.training.synthetic import lattice, warped_view

BATCH = 6
"""Pairs of views in a step."""
LEARNING_RATE = 2e-3
WARM_UP = 30
"""Steps in which the learning rate rises; then it falls to 0 along a cosine."""
DECAY = 0.02
"""Of the squares of ``up``'s weights, added to the loss."""
ONE_PICTURE = 0.4
"""Share of pairs of views that show one picture."""
WIDTH = 0.5
"""Standard deviation of the bell around the true place whose cells count as right, in cells."""
SCALE = 20.0
"""By which similarities are multiplied before the softmax, at first; it is learnt, too."""
FEWEST = 10
"""Cells with a known match that a pair of views needs."""
LEAST_AGREEMENT = 0.1
"""Share of trusted matches below which a pair is left out."""


class Adapted(NamedTuple):
    """What :func:`adapt` returns."""

    model: DCCNet
    pairs: int
    """Pairs that were learnt from; the others had too few matches that agree."""
    opposite: int
    """How many of them show things that face opposite ways."""
    trusted: float
    """Share of matches that were trusted, mean over these pairs."""
    loss: float
    """Mean over the last tenth of the steps."""


class _View(NamedTuple):
    features: Tensor
    """``(d, h, w)`` float16: Z, without the adapter."""
    places: Tensor
    """``(h·w, 2)`` float32: where its cells lie in the picture, normalised (x, y)."""


_Known = tuple[str, str, Labels]
"""The keys of two pictures, and matches from the first to the second."""


def adapt(
    model: DCCNet,
    pairs: Sequence[Pair],
    settings: AdaptSettings,
    on_start: Callable[[str, int], None] = lambda description, total: None,
    on_step: Callable[[float | None], None] = lambda loss: None,
) -> Adapted:
    """A copy of the network with an adapter for what ``pairs`` show; keypoints are not used.

    ``on_start`` is called with the description and number of steps of each part of the work, ``on_step``
    after each step, with the loss where there is one. Raises :class:`UsageError` for a network that has an
    adapter, and :class:`DataError` where there is too little to learn from.
    """
    if model.adapter is not None:
        raise UsageError(
            "this network has been adapted already: give the one that it was made from, and the lists of "
            "both in one"
        )
    pictures = {picture.key: picture for pair in pairs for picture in (pair.source, pair.target)}
    features = FeatureCache(model.eval(), settings.memory // 4)
    on_start("matching", len(pairs))
    known: list[_Known] = []
    for pair in pairs:
        found = label(model, features, pair)
        if found.agreement >= LEAST_AGREEMENT:
            known.append((pair.source.key, pair.target.key, found))
        on_step(None)
    if not known:
        raise DataError(
            "on no pair do enough of the network's matches agree with each other, so that there is nothing "
            "to learn from: use a network that matches these pictures better, or pairs of things of a kind"
        )
    used = dict.fromkeys(key for source, target, _ in known for key in (source, target))
    number = _views_that_fit(model, len(used), settings)
    on_start("encoding views", len(used) * number)
    passing = FeatureCache(model, 0)
    views = {
        key: [_encode(model, passing, pictures[key], i, (settings.seed, n), on_step) for i in range(number)]
        for n, key in enumerate(used)
    }
    adapted = _with_adapter(model, settings)
    on_start("adapting", settings.steps)
    loss = _train(adapted, known, views, settings, on_step)
    return Adapted(
        adapted.eval(),
        len(known),
        sum(labels.opposite for _, _, labels in known),
        float(np.mean([labels.agreement for _, _, labels in known])),
        loss,
    )


def _views_that_fit(model: DCCNet, pictures: int, settings: AdaptSettings) -> int:
    """Views of each picture, an even number. Raises :class:`DataError` where not even two fit."""
    each = 2 * model.backbone.channels * math.prod(model.grid)
    fit = settings.memory // (each * pictures) // 2 * 2
    if fit < 2:
        raise DataError(
            f"the features of two views of each of {pictures} pictures take "
            f"{2 * each * pictures / 1e9:.1f} GB, and {settings.memory / 1e9:.1f} are allowed: give fewer "
            "pairs, or more --memory"
        )
    return min(fit, settings.views)


def _encode(
    model: DCCNet,
    features: FeatureCache,
    picture: Picture,
    index: int,
    seed: tuple[int, int],
    on_step: Callable[[float | None], None],
) -> _View:
    view = warped_view(picture, index, seed, model.config.image_size)
    with torch.no_grad():
        z = model.local_features(features.batch([view.picture]))[0].half()
    on_step(None)
    return _View(z, torch.from_numpy(view.warp(lattice(model.grid))).float())


def _with_adapter(model: DCCNet, settings: AdaptSettings) -> DCCNet:
    torch.manual_seed(settings.seed)
    adapted = DCCNet(model.config.replace(adapter_rank=settings.rank))
    adapted.load_state_dict(model.state_dict(), strict=False)  # all but the adapter's
    return adapted


def _train(
    model: DCCNet,
    known: Sequence[_Known],
    views: dict[str, list[_View]],
    settings: AdaptSettings,
    on_step: Callable[[float | None], None],
) -> float:
    """Train the adapter; returns the mean loss of the last tenth of the steps."""
    adapter = model.adapter
    assert adapter is not None
    log_scale = torch.nn.Parameter(torch.tensor(math.log(SCALE)))
    groups: list[dict[str, Any]] = [
        {"params": adapter.parameters()},
        {"params": [log_scale], "lr": 5 * LEARNING_RATE},
    ]
    optimiser = torch.optim.Adam(groups, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: warm_cosine(step, settings.steps, WARM_UP)
    )
    rng = np.random.default_rng(settings.seed)
    weights = np.array([labels.agreement for _, _, labels in known])
    losses = []
    for _ in range(settings.steps):
        drawn = [_draw(known, weights / weights.sum(), views, settings, rng) for _ in range(BATCH)]
        parts = [_loss(model, log_scale.exp(), *pair) for pair in drawn]
        learnt = [part for part in parts if part is not None]
        if learnt:
            loss = torch.stack(learnt).mean()
            optimiser.zero_grad()
            (loss + DECAY * adapter.up.weight.square().sum()).backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        schedule.step()
        on_step(losses[-1] if losses else None)
    if not losses:
        raise DataError("no two views share enough of what matches: give more pairs")
    with torch.no_grad():
        adapter.up.weight *= settings.strength
    return float(np.mean(losses[-max(len(losses) // 10, 1) :]))


class _Drawn(NamedTuple):
    """Two views, and for the cells of the first: where they lie in the second's picture, and trust."""

    a: _View
    b: _View
    place: Tensor
    """``(h·w, 2)``, normalised (x, y)."""
    trust: Tensor
    """``(h·w,)``"""


def _draw(
    known: Sequence[_Known],
    probabilities: Floats,
    views: dict[str, list[_View]],
    settings: AdaptSettings,
    rng: np.random.Generator,
) -> _Drawn:
    """A random pair of views. Views with an odd number are mirrored."""
    turn = bool(rng.random() < settings.opposite)
    number = len(next(iter(views.values())))
    of_a = int(rng.integers(number))
    if rng.random() < ONE_PICTURE:
        key = list(views)[rng.integers(len(views))]
        of_b = _other(of_a, turn, number, rng)
        a, b = views[key][of_a], views[key][of_b]
        return _Drawn(a, b, a.places, _inside(a.places))
    source, target, labels = known[rng.choice(len(known), p=probabilities)]
    of_b = _other(of_a, turn != labels.opposite, number, rng)
    a, b = views[source][of_a], views[target][of_b]
    place = _at(labels.place, a.places)
    return _Drawn(a, b, place, _at(labels.trust, a.places)[:, 0] * _inside(a.places))


def _other(view: int, turn: bool, views: int, rng: np.random.Generator) -> int:
    """The number of a random view that is mirrored as number ``view`` is, unless ``turn``."""
    fitting = [i for i in range(views) if (i - view) % 2 == turn]
    return fitting[rng.integers(len(fitting))]


def _at(field: Tensor, points: Tensor) -> Tensor:
    """``field (c, h, w)`` at normalised ``points (N, 2)``: ``(N, c)``, bilinear."""
    sampled = F.grid_sample(field[None], points[None, :, None], align_corners=True, padding_mode="border")
    return sampled[0, :, :, 0].T


def _inside(points: Tensor) -> Tensor:
    """``(N,)`` float32: 1 for points ``(N, 2)`` inside the picture, else 0."""
    return (points.abs() <= 1).all(dim=1).float()


def _loss(model: DCCNet, scale: Tensor, a: _View, b: _View, place: Tensor, trust: Tensor) -> Tensor | None:
    """Cross entropy between A's similarities to the cells of B and a bell around its true place in B.

    None where too few of A's cells have a place in B.
    """
    step = 2 / (max(model.grid) - 1)
    apart = (place[:, None] - b.places[None]).square().sum(2) / step**2  # (cells of A, cells of B)
    weight = trust * (apart.amin(1) <= 1)
    chosen = weight > 0.5
    if int(chosen.sum()) < FEWEST:
        return None
    truth = (-apart[chosen] / (2 * WIDTH**2)).softmax(1)
    features_a, features_b = (_adapted(model, view.features) for view in (a, b))
    similar = scale * features_a[chosen] @ features_b.T
    weight = weight[chosen] / weight[chosen].sum()
    loss: Tensor = -(weight[:, None] * truth * similar.log_softmax(1)).sum()
    return loss


def _adapted(model: DCCNet, z: Tensor) -> Tensor:
    """``(d, h, w)`` -> ``(h·w, d)``: features after the adapter, of unit length."""
    assert model.adapter is not None
    adapted: Tensor = model.l2_norm(model.adapter(z.float()[None]))[0]
    return adapted.flatten(1).T
