"""Blind votes and the leaderboard."""
