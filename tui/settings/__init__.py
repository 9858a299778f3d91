"""The settings dialog: its fields as data, and its widgets."""
