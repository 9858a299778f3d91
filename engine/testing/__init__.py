"""Questions with checkable answers: sets of them, put to models one after the other, judged and compared."""
