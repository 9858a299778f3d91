"""Servers that this worker has started itself: llama.cpp's in this process, or a program of its own."""
