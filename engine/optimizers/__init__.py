"""How gradients become weights: groups of parameters, float32 masters in flat buffers, one rule of update a group."""
