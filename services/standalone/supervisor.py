"""Keeps child processes running, and stops them in order."""

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from services.standalone.backoff import Backoff
from services.standalone.process import ProcessSpec, environment, launch_command
from shared.errors import PlauditError

log = structlog.get_logger()

_POLL_SECONDS: Final = 0.03
_WATCHDOG: Final = Path(__file__).with_name("watchdog.py")


class ChildNotReadyError(PlauditError):
    """A child did not answer in its time.

    Attributes:
        name: Of the child.

    """

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        super().__init__(f"{name} did not become ready within {seconds:g} s; its own words are above")


class _Child:
    """One child, with the task that starts it again and again."""

    def __init__(self, spec: ProcessSpec, backoff: Backoff) -> None:
        self.spec = spec
        self.backoff = backoff
        self.process: asyncio.subprocess.Process | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Starts children, restarts those that end, stops all in order. Use it in the main thread's event loop: on
    Linux children die with the thread that started them.

    Args:
        on_change: Called with the process ids by name whenever one was started.
        make_backoff: Delays between restarts, one object a child.
        with_watchdog: Kill the children by a watchdog process when this one is gone; needed where the kernel
            does not offer it.
        clock: Seconds, monotonic.

    """

    def __init__(
        self,
        on_change: Callable[[dict[str, int]], None] = lambda _: None,
        make_backoff: Callable[[], Backoff] = Backoff,
        *,
        with_watchdog: bool = sys.platform != "linux",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_change = on_change
        self._make_backoff = make_backoff
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._stop_asked = asyncio.Event()
        self._watchdog = _start_watchdog() if with_watchdog else None

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that run now, by name."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None and child.running
        }

    def start(self, spec: ProcessSpec) -> None:
        """Start a child and keep it running from now on."""
        child = _Child(spec, self._make_backoff())
        self._children[spec.name] = child
        child.task = asyncio.create_task(self._keep(child), name=f"keep {spec.name}")

    async def wait_ready(self, *names: str) -> None:
        """Wait until these children answer.

        Raises:
            ChildNotReadyError: One did not, in its time.

        """
        await asyncio.gather(*(self._wait_ready(self._children[name]) for name in names))

    async def stop(self) -> None:
        """SIGTERM group by group, each with the time that its children ask for, then SIGKILL. No restarts from here."""
        self._stop_asked.set()
        in_order = sorted(self._children.values(), key=lambda child: child.spec.stop_order)
        for _, group in itertools.groupby(in_order, key=lambda child: child.spec.stop_order):
            await asyncio.gather(*(self._stop(child) for child in group))
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            await asyncio.to_thread(self._watchdog.wait)

    def kill(self) -> None:
        """SIGKILL to every child at once. Their data survives it."""
        self._stop_asked.set()
        for child in self._children.values():
            child.signal(signal.SIGKILL)

    async def _keep(self, child: _Child) -> None:
        name = child.spec.name
        while not self._stop_asked.is_set():
            started = self._clock()
            child.process = await asyncio.create_subprocess_exec(
                *launch_command(child.spec),
                stdin=subprocess.DEVNULL,
                env=environment(child.spec),
                start_new_session=True,
            )
            self._tell_watchdog(f"+{child.process.pid}")
            log.debug("child_started", child=name, pid=child.process.pid)
            self._on_change(self.pids)
            if self._stop_asked.is_set():
                # stop() may have looked before the process was there.
                child.signal(signal.SIGTERM)
            status = await child.process.wait()
            self._tell_watchdog(f"-{child.process.pid}")
            if self._stop_asked.is_set():
                return
            delay = child.backoff.after(self._clock() - started)
            log.warning(
                "child_exited", child=name, pid=child.process.pid, status=_words(status), restart_in=round(delay, 2)
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_asked.wait(), delay)

    async def _wait_ready(self, child: _Child) -> None:
        deadline = self._clock() + child.spec.ready_seconds
        while self._clock() < deadline:
            if child.running and await asyncio.to_thread(child.spec.ready):
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise ChildNotReadyError(child.spec.name, child.spec.ready_seconds)

    async def _stop(self, child: _Child) -> None:
        task = child.task
        if task is None:
            return
        child.signal(signal.SIGTERM)
        done, _ = await asyncio.wait({task}, timeout=child.spec.drain_seconds)
        if not done:
            log.warning("child_killed", child=child.spec.name, after=child.spec.drain_seconds)
            child.signal(signal.SIGKILL)
            await asyncio.wait({task})

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.write(line + "\n")
                self._watchdog.stdin.flush()


def _words(status: int) -> str:
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name


def _start_watchdog() -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603  our own file
        [sys.executable, "-I", "-S", str(_WATCHDOG)], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
