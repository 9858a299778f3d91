"""Environments made of pinned lists: built as a job, checked, removed."""
