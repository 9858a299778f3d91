"""Many requests to a server, measured: made-up prompts, threads that only read, stamps afterwards."""
