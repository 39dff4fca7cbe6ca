import stat
from pathlib import Path
from uuid import UUID

import pytest

from services.standalone.data_folder import (
    BrokenCredentialsError,
    default_folder,
    load_credentials,
    write_private,
)


def test_credentials_are_made_once_and_kept(tmp_path: Path) -> None:
    made = load_credentials(tmp_path)
    assert load_credentials(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_credentials_differ_between_folders_and_have_the_vendors_shapes(tmp_path: Path) -> None:
    one, other = (load_credentials(folder) for folder in (mkdir(tmp_path / "a"), mkdir(tmp_path / "b")))
    assert not set(one.tokens.values()) & set(other.tokens.values())
    assert one.redis_password != other.redis_password
    assert one.langwatch.startswith("sk-lw-")
    assert UUID(one.lunary_public) != UUID(one.lunary_private)


def mkdir(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("text", ["", "{", "[]", '{"langwatch": "x"}', '{"unknown": 1}'])
def test_broken_credentials_are_never_replaced(text: str, tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    with pytest.raises(BrokenCredentialsError) as caught:
        load_credentials(tmp_path)
    assert caught.value.path == path
    assert path.read_text() == text


def test_secrets_do_not_show_in_a_repr(tmp_path: Path) -> None:
    made = load_credentials(tmp_path)
    assert not [token for token in made.tokens.values() if token in repr(made)]


def test_a_private_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("xdg", "expected"),
    [("/data", "/data/plaudit"), ("", "/home/x/.local/share/plaudit"), ("rel", "/home/x/.local/share/plaudit")],
)
def test_the_default_folder_follows_xdg(xdg: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/x")
    assert default_folder() == Path(expected)
