"""What judges of free text are worth, and pass rates corrected for their errors."""
