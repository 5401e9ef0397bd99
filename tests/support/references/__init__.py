"""Published strategies in plain Python, one sample at a time, to compare the decoders with."""
