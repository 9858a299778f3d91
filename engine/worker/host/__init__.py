"""The worker's memory, threads and bandwidth."""
