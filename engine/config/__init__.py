"""What a user writes, read and checked: profiles, methods, sources, texts. Knows no torch and no process."""
