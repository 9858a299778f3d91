"""The duel's screen: both answers, their turns, and ways to read them."""
