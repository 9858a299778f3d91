"""What reaches the terminal: no more than what changes on it. Knows no widget."""
