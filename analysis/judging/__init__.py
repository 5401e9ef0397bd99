"""Error rates of judges of free text, and pass rates corrected for them."""
