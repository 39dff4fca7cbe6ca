from __future__ import annotations

from services.ingest_api.minting import Mint, Minter, envelopes, system_randbytes
from shared.envelope import RawEvent


def test_each_request_gets_its_own_id_and_the_time_in_microseconds() -> None:
    asked: list[int] = []

    def randbytes(count: int) -> bytes:
        asked.append(count)
        return bytes(number % 256 for number in range(len(asked), len(asked) + count))

    mint = Minter(lambda: 1_795_316_670_092_123_999, randbytes)
    first, second = mint(), mint()
    assert first == Mint(bytes(range(1, 17)), 1_795_316_670_092_123)
    assert second.request_id == bytes(range(17, 33))
    assert asked == [4096]


def test_ids_do_not_repeat_across_refills() -> None:
    mint = Minter(lambda: 0, system_randbytes)
    assert len({mint().request_id for _ in range(1000)}) == 1000


def test_a_small_request_is_one_envelope() -> None:
    mint = Mint(b"r" * 16, 5)
    (made,) = envelopes(mint, "lunary", [("p", RawEvent(0, b"a")), ("p", RawEvent(3, b"b"))], 10)
    assert (made.project_id, made.source, made.request_id, made.received_at) == ("p", "lunary", b"r" * 16, 5)
    assert (made.part, made.events) == (0, [RawEvent(0, b"a"), RawEvent(3, b"b")])


def test_a_large_request_is_split_by_bytes_and_an_event_never() -> None:
    events = [("p", RawEvent(place, b"x" * size)) for place, size in enumerate([4, 4, 4, 30, 1])]
    made = envelopes(Mint(b"r" * 16, 5), "lunary", events, 10)
    assert [[event.index for event in envelope.events] for envelope in made] == [[0, 1], [2], [3], [4]]
    assert [envelope.part for envelope in made] == [0, 1, 2, 3]
    assert len({envelope.work_id for envelope in made}) == 4


def test_events_of_several_projects_never_share_an_envelope() -> None:
    events = [("p", RawEvent(0, b"a")), ("q", RawEvent(1, b"b")), ("p", RawEvent(2, b"c"))]
    made = envelopes(Mint(b"r" * 16, 5), "lunary", events, 100)
    assert [(envelope.project_id, [event.index for event in envelope.events], envelope.part) for envelope in made] == [
        ("p", [0, 2], 0),
        ("q", [1], 1),
    ]
