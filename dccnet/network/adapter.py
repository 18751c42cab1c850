"""A learnt linear change of the backbone's features. Not in the paper (docs/adaptation.md)."""

from __future__ import annotations

from torch import Tensor, nn

from dccnet.network.precision import as_weights_of


class FeatureAdapter(nn.Module):
    """Adds to Z a linear function of it, of low rank: ``Z + up(down(Z))``; at first it adds nothing.

    The rank is the number of directions of the feature space that can change. The result is not
    normalised.
    """

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, rank, kernel_size=1, bias=False)
        self.up = nn.Conv2d(rank, channels, kernel_size=1, bias=False)
        nn.init.normal_(self.down.weight, std=channels**-0.5)  # keeps the length of a feature
        nn.init.zeros_(self.up.weight)

    def forward(self, z: Tensor) -> Tensor:
        """``Z (B, d, h, w)`` -> ``(B, d, h, w)``."""
        z = as_weights_of(self.up, z)
        changed: Tensor = z + self.up(self.down(z))
        return changed
