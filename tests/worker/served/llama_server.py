"""llama.cpp's server in a process of its own: `python llama_server.py MODEL KEY` writes its address."""

import signal
import sys

import xllamacpp

if __name__ == "__main__":
    wanted = xllamacpp.CommonParams()
    wanted.model.path, wanted.api_keys = sys.argv[1], [sys.argv[2]]
    wanted.hostnames, wanted.port, wanted.n_parallel, wanted.n_ctx = ["127.0.0.1"], 0, 4, 2048
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.endpoint_slots, wanted.ui = True, False
    server = xllamacpp.Server(wanted)
    print(f"\nup {server.listening_address}", flush=True)  # noqa: T201
    signal.pause()
