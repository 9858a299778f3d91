"""The worker process: torch and transformers are imported below here only. One model per process."""
