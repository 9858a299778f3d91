"""What a shell knows of this process: whether it can be stopped and continued, and has the terminal.

Knows nothing of screens.
"""

import os


def has_shell() -> bool:
    """Whether a shell watches this process's group; nobody could continue it otherwise.

    A process that is the first one of its terminal, as in `tmux new quantduel`, has none.
    """
    import psutil  # not for the first picture

    for parent in psutil.Process().parents():
        try:
            if os.getsid(parent.pid) != os.getsid(0):
                return False
            if os.getpgid(parent.pid) != os.getpgrp():
                return True
        except OSError:  # it ended, or is another user's
            return False
    return False


def is_in_foreground(terminal: int) -> bool:
    """Whether keys that are typed into this terminal come here."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # no terminal
        return True
