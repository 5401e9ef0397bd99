"""A board: its entries, their ranks, and its pages."""
