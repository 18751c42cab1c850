"""DCCNet in PyTorch: the method of Huang et al. (ICCV 2019), step by step in the paper's terms.

>>> from dccnet import DCCNet, PRESETS, load_checkpoint
"""

from dccnet.checkpoint import load_checkpoint, save_checkpoint
from dccnet.config import PRESETS, ModelConfig
from dccnet.loss import weak_loss
from dccnet.model import DCCNet

__all__ = ["PRESETS", "DCCNet", "ModelConfig", "load_checkpoint", "save_checkpoint", "weak_loss"]
