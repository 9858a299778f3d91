"""QuantDuel's engine: profiles, worker processes, duels and their figures. Knows nothing of any screen."""
