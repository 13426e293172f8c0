"""How a process that trains uses the processor: its threads, and how many prepared products it keeps.

Both must be said before torch has begun to compute. Knows nothing of models or runs.
"""

from __future__ import annotations

import os

from engine.recipe import Recipe

CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
LIBRARY_CAPACITY = 1024  # products, if nothing is said
# Batches of a decoder's rows have a size of their own each: what was prepared for one, half a megabyte a product and
# some twenty products a size, is hardly asked for again. Within a step the layers share it.
DECODER_CAPACITY = 128


def set_up_processor(recipe: Recipe) -> None:
    """Threads and kept products as the recipe's run has them; torch is imported here."""
    # Before torch is imported, so that no library starts a thread a core by itself.
    num_threads = recipe.num_threads or 1
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(num_threads)
    if recipe.task == "causal-lm":
        os.environ.setdefault(CAPACITY, str(DECODER_CAPACITY))
    import torch

    torch.set_num_threads(num_threads)


def product_capacity() -> int:
    """How many prepared products this process keeps."""
    return int(os.environ.get(CAPACITY, LIBRARY_CAPACITY))
