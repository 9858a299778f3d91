"""The blind vote's parts."""
