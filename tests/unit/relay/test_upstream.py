from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import Url

from services.ingest_api.relay.upstream import HeadWriter, end_to_end, request_headers, target, upstream
from shared.settings import RelaySettings


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "base"),
    [
        ("https://app.langwatch.ai", "app.langwatch.ai", 443, "app.langwatch.ai", "https://app.langwatch.ai"),
        ("http://lunary:3333/", "lunary", 3333, "lunary:3333", "http://lunary:3333"),
        ("http://[::1]:80/a/b/", "::1", 80, "[::1]", "http://[::1]/a/b"),
    ],
)
def test_where_an_upstream_is(url: str, host: str, port: int, authority: str, base: str) -> None:
    found = upstream(Url(url))
    assert (found.host, found.port, found.authority, found.base) == (host, port, authority, base)


def test_only_https_has_certificates_checked() -> None:
    assert upstream(Url("http://a")).tls is None
    tls = upstream(Url("https://a")).tls
    assert tls is not None
    assert tls.check_hostname


@pytest.mark.parametrize("url", ["https://user:pw@a", "https://a/?x=1", "https://a/#x", "ftp://a", "nothing"])
def test_an_upstream_is_no_more_than_a_place(url: str) -> None:
    with pytest.raises(ValidationError):
        RelaySettings.model_validate({"lunary_upstream": url})


def test_a_file_of_authorities_that_holds_none_is_refused_at_the_start(tmp_path: Path) -> None:
    for name in ("nowhere.pem", "empty.pem"):
        (tmp_path / "empty.pem").touch()
        with pytest.raises(ValidationError, match=r"no certificates can be read from .*\.pem"):
            RelaySettings.model_validate({"relay_ca_file": tmp_path / name})


def test_headers_between_neighbours_are_dropped_those_that_connection_names_too() -> None:
    headers = [(b"Connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"TE", b"trailers"), (b"upgrade", b"h2c")]
    kept = [(b"x-a", b"1"), (b"X-A", b"2"), (b"cookie", b"c")]
    assert end_to_end([*headers, *kept]) == kept


def _scope(**more: Any) -> dict[str, Any]:
    headers = [(b"host", b"plaudit"), (b"expect", b"100-continue"), (b"content-length", b"3"), (b"x-b", b"1")]
    return {"headers": headers, "client": ("10.0.0.7", 1), "path": "/v1/a b", "raw_path": b"/v1/a%20b"} | more


def test_the_address_of_the_client_is_added_behind_those_that_are_there() -> None:
    assert request_headers(_scope(), forwarded_for=True) == [(b"x-b", b"1"), (b"x-forwarded-for", b"10.0.0.7")]
    hops = _scope(headers=[(b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"x-forwarded-for", b"3.3.3.3")])
    assert request_headers(hops, forwarded_for=True) == [(b"x-forwarded-for", b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.7")]
    assert request_headers(_scope(), forwarded_for=False) == [(b"x-b", b"1")]
    assert request_headers(_scope(client=None), forwarded_for=True) == [(b"x-b", b"1")]


def test_a_request_asks_for_what_was_asked_for() -> None:
    assert target(_scope(query_string=b"")) == b"/v1/a%20b"
    assert target(_scope(query_string=b"q=%2F&x")) == b"/v1/a%20b?q=%2F&x"


def test_the_first_lines_of_a_request() -> None:
    head = HeadWriter(upstream(Url("https://h:8443/p")))("PATCH", b"/v1/x?a", [(b"x-a", b"\xff")], 12)
    assert head == b"PATCH /p/v1/x?a HTTP/1.1\r\nhost: h:8443\r\ncontent-length: 12\r\nx-a: \xff\r\n\r\n"
    bare = HeadWriter(upstream(Url("http://h")))("POST", b"/", [], 0)
    assert bare == b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"
