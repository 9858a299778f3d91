"""Long work as a screen shows it: bench, fidelity, quantizing."""
