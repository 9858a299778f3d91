"""A profile's checkpoint, made by a worker and kept in the store, as a long run. Knows no screen."""
