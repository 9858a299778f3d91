"""Eval: how far candidates are from a reference on a text. Knows no screen."""
