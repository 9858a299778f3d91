"""The step on a CPU as one compiled function, and the weights it reads."""
