"""Whether a profile fits, before anything is loaded: every term in bytes, with where it comes from."""
