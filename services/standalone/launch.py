"""Runs a program that dies with its parent: ``python -I -S launch.py PARENT_PID PROGRAM [ARGUMENT ...]``.

On Linux the kernel is asked for SIGKILL when the parent goes (PR_SET_PDEATHSIG); it survives exec, and this process
becomes the program itself. A file of its own rather than a preexec_fn, which may deadlock in a process with threads.
The signal is tied to the parent's thread, so children are to be started from a thread that lives on.
Elsewhere the watchdog does it (see watchdog.py).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have gone before the kernel was asked.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
