import socket

import pytest

from services.standalone.ports import PortInUseError, PortWish, settle_ports
from services.standalone.process import free_port


def test_zero_picks_different_free_ports() -> None:
    ports = settle_ports({name: PortWish(f"--{name}", name, 0) for name in "abcdef"})
    assert len(set(ports.values())) == 6
    assert all(port > 0 for port in ports.values())


def test_a_wish_is_granted() -> None:
    port = free_port()
    assert settle_ports({"a": PortWish("--port", "ingest", port)}) == {"a": port}


def test_a_busy_port_is_named_with_its_option_and_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wish = PortWish("--port", "ingest", taken.getsockname()[1])
        with pytest.raises(PortInUseError) as caught:
            settle_ports({"ingest": wish})
    assert caught.value.wish == wish
    assert str(caught.value) == f"port {wish.port} (--port, ingest) is already in use"


def test_the_same_port_twice_is_refused() -> None:
    port = free_port()
    with pytest.raises(PortInUseError, match="asked for twice"):
        settle_ports({"a": PortWish("--port", "ingest", port), "b": PortWish("--analytics-port", "analytics", port)})
