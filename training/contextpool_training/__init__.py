"""ContextPool in PyTorch: the reference module, models with it, and trainers."""

from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions, Fixed

__all__ = ["ContextPool", "ContextPoolOptions", "Fixed"]
