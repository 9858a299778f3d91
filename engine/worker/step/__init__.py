"""One token through a model: its cache, the native step, the captured step."""
