"""Texts to calibrate with and to score."""
