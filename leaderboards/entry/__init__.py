"""An entry: what it states and holds, and how the folder of a stranger is read."""
