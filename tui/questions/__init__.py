"""A test's questions, one by one: both answers side by side."""
