"""An answer: prompt, tokens, sampling, text."""
