"""Charts as data, and drawn in braille dots."""
