"""The duel's engine as messages, and a side as the screens show it."""
