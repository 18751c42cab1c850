"""Steps of the network without weights, as modules, so that exported graphs can name every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Step(nn.Module):
    """Calls a function. Exported graphs name the step after this module's place in the network."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *arguments: Any) -> Any:
        return self._function(*arguments)
