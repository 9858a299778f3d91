"""This computer: devices, processors, memory, installed packages. Knows no torch."""
