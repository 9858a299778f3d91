"""One prompt to two models: answers, comparison, swap, lens."""
