"""The shipped profiles; a file's name is its profile's name."""
