"""What parallel decoding must cost, computed from the laws of the answers."""
