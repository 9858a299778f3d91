"""What each figure means, in a line, for the help screen and exports. docs/measuring.md says more."""

DEFINITIONS = (
    ("TTFT", "from the worker's receipt of the prompt to its first token"),
    ("prefill", "the prompt's tokens over the time to read them"),
    ("decode", "tokens a second from the first to the last, without the prefill"),
    ("decode now", "the same over the last second of tokens"),
    ("ITL", "the time from one token to the next: the median, and what 95 % stay below"),
    ("tokens", "the prompt's + the answer's (kept: still in the cache)"),
    ("bandwidth", "weights and cache read each second, as a share of what a copy reaches"),
    ("weights", "bytes of parameters and buffers as stored"),
    ("KV cache", "bytes allocated for it"),
    ("peak", "highest since the prompt: the allocator's (GPU), the resident set's (CPU)"),
    ("activations", "the peak, less weights and cache"),
    ("process", "the worker's, as the driver or the system reports it"),
    ("reserved", "held by CUDA's allocator; instead of process where a container hides it"),
    ("contended", "the device was shared with the other answer meanwhile"),
    ("slowed", "other processes kept cores busy meanwhile: speeds do not compare"),
    ("too short", "under 0.5 s or 8 tokens of decoding: a ratio of such speeds is chance"),
    ("◆", "where the two answers diverge"),
    ("surprise", "-ln of the probability a model gave the token, in nats"),
    ("margin", "between a model's first two choices, in nats"),
    ("same input", "both read the same token ids; the hash proves it"),
)
