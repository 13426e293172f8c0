"""Text out of decoders: the decode loop, our own decoder for Llama shapes, and llama.cpp."""
