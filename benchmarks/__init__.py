"""Claims of speed, each a ratio against a named peer, interleaved in one run on the same rows."""
