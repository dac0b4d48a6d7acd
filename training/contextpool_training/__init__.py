"""ContextPool in PyTorch: the reference module, its insertion into BERT, and trainers."""

from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions, Fixed

__all__ = ["ContextPool", "ContextPoolOptions", "Fixed"]
