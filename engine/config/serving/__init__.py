"""Servers that QuantDuel starts for a side: what a profile says of one, and how each program is told."""
