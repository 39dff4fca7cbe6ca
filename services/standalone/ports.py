"""The ports that the stack listens on."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.standalone.process import free_port, port_is_free
from shared.errors import PlauditError


@dataclass(frozen=True, slots=True)
class PortWish:
    """A port as asked for: ``option`` and ``service`` name it to the user; 0 means any."""

    option: str
    service: str
    port: int


class PortInUseError(PlauditError):
    """Somebody listens on a port that was asked for, or it was asked for twice."""

    def __init__(self, wish: PortWish, reason: str = "is already in use") -> None:
        self.wish = wish
        super().__init__(f"port {wish.port} ({wish.option}, {wish.service}) {reason}")


def settle_ports(wishes: Mapping[str, PortWish]) -> dict[str, int]:
    """A port for each wish, by the same name; no two alike.

    Raises:
        PortInUseError: A port is taken.

    """
    settled: dict[str, int] = {}
    for name, wish in wishes.items():
        if wish.port == 0:
            continue
        if wish.port in settled.values():
            raise PortInUseError(wish, "is asked for twice")
        if not port_is_free(wish.port):
            raise PortInUseError(wish)
        settled[name] = wish.port
    for name, wish in wishes.items():
        while wish.port == 0 and name not in settled:
            port = free_port()
            if port not in settled.values():
                settled[name] = port
    return settled
