"""The parts of the embedded ClickHouse that need no engine."""

import base64
import gzip
import zlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from xml.etree import ElementTree as ET

import lz4.frame
import pytest

from services.standalone.clickhouse.codec import decode, encode
from services.standalone.clickhouse.confinement import config_xml, default_max_memory, users_xml
from services.standalone.clickhouse.errors import ClickHouseError
from services.standalone.clickhouse.guard import check_origin
from services.standalone.clickhouse.protocol import Credentials, read_request

LIMIT = 1000
TEXT = b"a row of text" * 20
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": lambda data: encode(data, "zstd")[0],
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_body_is_decoded(encoding: str) -> None:
    assert decode(ENCODERS[encoding](TEXT), encoding, LIMIT) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd"])
def test_frames_one_after_another_are_one_text(encoding: str) -> None:
    data = b"".join(ENCODERS[encoding](part) for part in (b"one ", b"two ", b"three"))
    assert decode(data, encoding, LIMIT) == b"one two three"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
def test_what_unpacks_beyond_the_limit_is_refused(encoding: str) -> None:
    with pytest.raises(ClickHouseError) as caught:
        decode(ENCODERS[encoding](b"\0" * (LIMIT + 1)), encoding, LIMIT)
    assert (caught.value.code, caught.value.status) == (307, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    assert len(decode(ENCODERS[encoding](b"\0" * LIMIT), encoding, LIMIT)) == LIMIT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
@pytest.mark.parametrize("broken", ["cut", "noise"])
def test_broken_data_is_the_clients_error(encoding: str, broken: str) -> None:
    data = ENCODERS[encoding](TEXT)[:-3] if broken == "cut" else b"not compressed at all"
    with pytest.raises(ClickHouseError) as caught:
        decode(data, encoding, LIMIT)
    assert caught.value.code == 271


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ClickHouseError, match="br"):
        decode(b"x", "br", LIMIT)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [("lz4", "lz4"), ("br, zstd;q=0.5, gzip", "zstd"), ("GZIP", "gzip"), ("br", None), ("", None)],
)
def test_the_first_known_offer_is_taken(accepted: str, chosen: str | None) -> None:
    data, encoding = encode(TEXT, accepted)
    assert encoding == chosen
    assert decode(data, encoding or "", LIMIT) == TEXT


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "LOCALHOST:8123", "[::1]:8123"])
def test_loopback_is_let_in(host: str) -> None:
    check_origin(host, None, 8123)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (None, None),
        ("", None),
        ("localhost", None),
        ("localhost:1", None),
        ("evil.example:8123", None),
        ("localhost:8123", ""),
        ("localhost:8123", "null"),
    ],
)
def test_what_a_web_page_can_send_is_refused(host: str | None, origin: str | None) -> None:
    with pytest.raises(ClickHouseError) as caught:
        check_origin(host, origin, 8123)
    assert caught.value.code == 497


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        (basic("u", "p:w"), {}),
        ({"x-clickhouse-user": "u", "x-clickhouse-key": "p:w"}, {}),
        ({}, {"user": "u", "password": "p:w"}),
    ],
)
def test_the_right_password_is_taken_in_each_of_its_places(headers: dict[str, str], parameters: dict[str, str]) -> None:
    Credentials("u", "p:w").check(headers, parameters)


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({}, {}),
        (basic("u", "p"), {}),
        (basic("v", "p:w"), {}),
        ({"authorization": "Basic ???"}, {}),
        ({"authorization": "Basic"}, {}),
        ({"authorization": "Bearer p:w"}, {}),
        ({"x-clickhouse-user": "u"}, {"password": "p:w"}),
        ({}, {"user": "u", "password": "ü"}),
    ],
)
def test_a_wrong_password_is_refused(headers: dict[str, str], parameters: dict[str, str]) -> None:
    with pytest.raises(ClickHouseError) as caught:
        Credentials("u", "p:w").check(headers, parameters)
    assert (caught.value.code, caught.value.status) == (516, HTTPStatus.UNAUTHORIZED)


def test_parameters_settings_and_transport_are_told_apart() -> None:
    parameters = {"query": "SELECT 1", "database": "d", "param_x": "1", "max_threads": "2", "wait_end_of_query": "1"}
    call = read_request("POST", parameters, {}, b"", LIMIT).call
    assert (call.database, call.parameters, call.settings, call.read_only) == (
        "d",
        {"x": "1"},
        {"max_threads": "2"},
        False,
    )
    assert read_request("GET", parameters, {}, b"", LIMIT).call.read_only


@pytest.mark.parametrize("name", ["max threads", "a=1,b", "1x", "a`", ""])
def test_a_setting_with_an_odd_name_is_refused(name: str) -> None:
    with pytest.raises(ClickHouseError) as caught:
        read_request("POST", {name: "1"}, {}, b"", LIMIT)
    assert caught.value.code == 115


def test_an_upload_in_a_form_is_not_supported_and_says_so() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="t"; filename="t.csv"\r\n\r\n1\r\n--x--\r\n'
    with pytest.raises(ClickHouseError, match="External data"):
        read_request("POST", {}, {"content-type": "multipart/form-data; boundary=x"}, body, LIMIT)


def test_an_error_of_the_engine_keeps_its_code_and_text() -> None:
    error = ClickHouseError.from_engine(RuntimeError("Streaming failed: Code: 60. DB::Exception: No. (UNKNOWN_TABLE)"))
    assert (error.code, str(error)) == (60, "Code: 60. DB::Exception: No. (UNKNOWN_TABLE)")
    assert ClickHouseError.from_engine(RuntimeError("odd")).code == 1002


def test_the_configuration_survives_an_odd_path() -> None:
    config = ET.fromstring(config_xml(Path("/a & <b>/users.xml"), 1 << 30))
    assert config.findtext("users_config") == "/a & <b>/users.xml"
    assert config.findtext("max_server_memory_usage") == str(1 << 30)


def test_no_source_outside_is_granted() -> None:
    users = ET.fromstring(users_xml())
    granted = " ".join(query.text or "" for query in users.iter("query"))
    for name in ("FILE", "URL", "SOURCES", "REMOTE", "BACKUP", "ENGINE ON *", "ALL ON"):
        assert name not in granted


@pytest.mark.parametrize(("physical", "expected"), [(1, 1), (8, 2), (16, 4), (256, 4)])
def test_the_engine_takes_a_share_of_the_memory(physical: int, expected: int) -> None:
    assert default_max_memory(physical << 30) == expected << 30
