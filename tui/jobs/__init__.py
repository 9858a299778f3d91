"""Long work as a screen shows it: bench, eval, quantizing."""
