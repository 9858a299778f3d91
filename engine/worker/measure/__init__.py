"""Timed runs and the scoring of given tokens."""
