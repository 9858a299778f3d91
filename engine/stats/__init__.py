"""Pure numbers: speeds, fidelity, the leaderboard's statistics, what bounds a speed."""
