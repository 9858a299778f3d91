"""The keys of the duel's screen: what is in the footer, and in a line what each does."""

from textual.binding import Binding


def _key(key: str, action: str, label: str, what: str, *, first: bool = False) -> Binding:
    """`first` takes it before the prompt, which has a use of its own for it. A line of the
    footer has 80 columns."""
    return Binding(key, action, label, tooltip=what, priority=first)


KEYS = [
    _key("escape", "stop", "Stop", "stop all sides; take a waiting prompt back", first=True),
    _key("ctrl+e", "settings", "Settings", "system prompt, sampling, thinking, schedule", first=True),
    _key("ctrl+o", "pick", "Pick", "another profile on the side in view"),
    _key("ctrl+t", "toggle_schedule", "Mode", "in turns, all at once, or one loaded at a time"),
    _key("ctrl+n", "other_side", "Side", "the other side, or the next"),
    _key("ctrl+r", "reload", "Load", "load a failed side again; twice: the side in view"),
    _key("ctrl+g", "copy", "Copy", "copy the answers, in a pane its own; again: a code block"),
    _key("ctrl+f", "find", "Find", "words in the conversation of the side in view", first=True),
    _key("ctrl+s", "export", "Save", "a page, Markdown, or JSON to be played again"),
    _key("ctrl+l", "clear", "New", "new conversations on an empty screen"),
    _key("f1", "app.help", "Help", "these keys, and what the figures mean"),
    _key("f2", "blind", "Vote", "blind votes: answers without names"),
    _key("f3", "lens", "Lens", "A's view of every token, and that of the side in view"),
    _key("f4", "app.kept_duels", "Kept", "kept duels: search, reopen, read, rename, delete"),
    _key("f5", "app.bench", "Bench", "speed and memory over context lengths"),
    _key("f6", "app.eval", "Eval", "KLD and perplexity on a text", first=True),
    _key("f7", "app.leaderboard", "Rank", "what the blind votes say", first=True),
    _key("f8", "app.quantize", "Make", "make a profile's checkpoint now"),
    _key("f9", "turn", "Turn", "again, with a new seed, on from a cut, another prompt, one side"),
    _key("f10", "history", "Past", "before a prompt: own answers, A's on all, or none", first=True),
    _key("f11", "app.test", "Test", "questions with checkable answers: who is right?"),
    _key("f12", "view", "View", "Markdown, thoughts and notes, raw text, word against word"),
    _key("ctrl+d", "app.quit", "Quit", "end all workers and leave; where text is typed, delete it"),
]
TAB = Binding("tab", "next_pane", tooltip="prompt, A, B, tabs too; typed text goes to the prompt", show=False)
