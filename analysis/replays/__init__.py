"""Where replays are shown: a terminal, an animated SVG, an animated GIF."""
