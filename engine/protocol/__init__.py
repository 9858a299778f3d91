"""The wire between the engine and a worker: commands one way, events the other, one JSON object a line.

Each module has a subject's commands beside the events that answer them; `wire` has the unions of all.

Every event carries `ns`, the worker's CLOCK_MONOTONIC at the moment it happened: the only clock that counts.
Between two processes of one machine tensors never travel here. Between two machines the far end says `Hello`
first, both sides say something every moment, and logits travel in pieces: a line that says how many bytes
follow, and the bytes. What is outside the bounds of a field is no event, nor is a number that is none.
Requests are numbered by the client; events that belong to one carry its number.
"""
