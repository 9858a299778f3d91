"""The bench: a matrix of context lengths and batch sizes, measured for any profiles. Knows no screen."""
