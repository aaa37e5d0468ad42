"""A promise that a child process makes: to die with its parent, however that came about. Linux only.

The kernel keeps it (``prctl`` with ``PR_SET_PDEATHSIG``): the child is killed when the thread that started it ends.
"""

from __future__ import annotations

import os
import sys

_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: survives the exec below
if os.getppid() != int(sys.argv[1]):
    os._exit(1)  # the parent went before the order was given
os.execv(sys.argv[2], sys.argv[2:])
"""


def die_with_parent() -> list[str]:
    """Return a command that makes the process die with its parent and then becomes the command after it.

    A fresh interpreter, since running Python between fork and exec is unsafe once there are threads. Elsewhere than on
    Linux it is empty: nothing is promised.
    """
    if not sys.platform.startswith("linux"):
        return []
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
