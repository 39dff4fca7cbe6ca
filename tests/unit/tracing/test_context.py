from __future__ import annotations

import pytest

from shared.tracing.context import parent, read, write

from .spans import Kept

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_names_the_remote_parent() -> None:
    context = read(f"00-{TRACE}-{SPAN}-01".encode())
    assert context is not None
    found = parent(context)
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, SPAN)
    assert found.is_remote
    assert found.trace_flags.sampled


def test_a_parent_that_is_not_sampled_is_known_as_such() -> None:
    context = read(f"00-{TRACE}-{SPAN}-00".encode())
    assert context is not None
    assert not parent(context).trace_flags.sampled


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = read(f"01-{TRACE}-{SPAN}-01-what-the-future-holds".encode())
    assert context is not None
    assert parent(context).is_valid


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"garbage",
        f"00-{TRACE}-{SPAN}".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{TRACE[:-1]}-{SPAN}-01".encode(),
        f"00-{TRACE[:-1]}g-{SPAN}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01".encode(),
        f"01-{TRACE}-{SPAN}-01-".encode() + b"x" * 1000,
        b"\xff\xfe\x00",
        b"00-\xd9\xa0" + f"{TRACE[2:]}-{SPAN}-01".encode(),
    ],
)
def test_what_is_malformed_is_no_parent(header: bytes) -> None:
    assert read(header) is None


def test_what_is_written_is_read_as_the_same_span() -> None:
    span = Kept().tracer.start_span("s")
    context = read(write(span))
    assert context is not None
    found, own = parent(context), span.get_span_context()
    assert (found.trace_id, found.span_id, found.trace_flags.sampled) == (own.trace_id, own.span_id, True)
    assert len(write(span)) == 55
