"""A launched command that dies with QuantDuel: `python tethered.py ssh gpu2 …`, run as a file, not imported.

A command whose line is cut may wait for the network long after QuantDuel was killed. On Linux the kernel ends
it then; elsewhere the end of its stdin has to do.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # kept by the program that follows
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
