"""An answer's text as it streams: Markdown blocks, and the mark where answers diverge."""
