"""How a process that trains uses the processor: its threads, how many prepared products it keeps, and its end.

Both must be said before torch has begun to compute. Knows nothing of models or runs.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from engine.recipe import Recipe

# Both oneDNN and the layer between it and torch keep what they prepared, a quarter of a megabyte each.
CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
LIBRARY_CAPACITY = 1024  # products, if nothing is said
# Batches of a decoder's rows have a size of their own each: what was prepared for one, half a megabyte a product and
# some twenty products a size, is hardly asked for again. Within a step the layers share it.
DECODER_CAPACITY = 128
# Where all layers are frozen every size is met once, and what is trained has a size of its own.
HEAD_CAPACITY = 32


def set_up_processor(recipe: Recipe) -> None:
    """Threads and kept products as the recipe's run has them; torch is imported here."""
    # Before torch is imported, so that no library starts a thread a core by itself.
    num_threads = recipe.num_threads or 1
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(num_threads)
    if capacity := _capacity(recipe):
        for name in CAPACITIES:
            os.environ.setdefault(name, str(capacity))
    import torch

    torch.set_num_threads(num_threads)


def end_at_once(code: int) -> NoReturn:
    """End this process, whose work is all on the disk: to take down an interpreter with torch in it takes a second."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _capacity(recipe: Recipe) -> int | None:
    if recipe.method == "head-only":
        return HEAD_CAPACITY
    return DECODER_CAPACITY if recipe.task == "causal-lm" else None


def product_capacity() -> int:
    """How many prepared products this process keeps."""
    return int(os.environ.get(CAPACITIES[0], LIBRARY_CAPACITY))
