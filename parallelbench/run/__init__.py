"""A run: its file, its folder, its parts, and who does the work."""
