"""What a child process is, and how one is started so that it cannot outlive its parent."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

LOOPBACK: Final = "127.0.0.1"
_ROOT: Final = Path(__file__).resolve().parents[2]
_LAUNCHER: Final = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One child.

    Attributes:
        name: For logs and for the list of process ids.
        argv: Program (an absolute path) and its arguments; never a secret, since every user can read it.
        ready: Whether the child answers. Quick (a second at most), blocking, never raising.
        env: Variables beside those of the parent.
        stop_order: Children stop in ascending order; those of one number at the same time.
        drain_seconds: What a child gets between SIGTERM and SIGKILL.
        ready_seconds: How long it may take to become ready for the first time.

    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_order: int = 0
    drain_seconds: float = 10.0
    ready_seconds: float = 30.0


def python_argv(module: str, *arguments: str) -> tuple[str, ...]:
    """Arguments that run a module of this project with this interpreter; what lies in the working directory is
    not imported (-P).
    """
    return (sys.executable, "-P", "-m", module, *arguments)


def launch_command(spec: ProcessSpec) -> list[str]:
    """The command that starts a child through the launcher; the caller is its parent."""
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *spec.argv]


def environment(spec: ProcessSpec) -> dict[str, str]:
    """The child's environment: the parent's, the child's own, and a path on which this project is found."""
    path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, **spec.env}


def start(spec: ProcessSpec, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a child that dies with the calling thread (Linux; see launch.py).

    It gets a session of its own: Ctrl-C on the terminal reaches the parent only, which stops its children in order.

    Args:
        spec: What to start.
        output: Where its output goes; the parent's own where None.

    """
    return subprocess.Popen(  # noqa: S603  the arguments are our own
        launch_command(spec),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        env=environment(spec),
        start_new_session=True,
    )


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are only winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def http_ok(port: int, path: str) -> bool:
    """Whether the server on this port of loopback answers 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
