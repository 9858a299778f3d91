"""A source on this disk: fetched, checked for being whole, read into a model."""
