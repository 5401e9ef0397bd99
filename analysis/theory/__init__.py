"""The least cost of parallel decoding, computed from answer distributions."""
