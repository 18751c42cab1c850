"""Steps of the network that have no weights, as modules: whatever walks through it can tell where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Step(nn.Module):
    """Calls a function. Its name in the network is what exported graphs call the step."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *arguments: Any) -> Any:
        return self._function(*arguments)
