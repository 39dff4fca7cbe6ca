from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from services.ingest_api.spool import Spool, SpoolFullError, read

MIB = 1024 * 1024


def everything(spool: Spool) -> list[list[bytes]]:
    found = []
    while segment := spool.oldest():
        found += [list(record) for record in read(segment)]
        spool.remove(segment)
    return found


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=MIB)
    spool.append([[b"one"], [b"two", b"part two"]])
    spool.append([[b"three"]])
    assert everything(spool) == [[b"one"], [b"two", b"part two"], [b"three"]]
    assert spool.empty


def test_segments_rotate_and_are_replayed_oldest_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=MIB, segment=100)
    for number in range(30):
        spool.append([[b"%030d" % number]])
    assert len(list(tmp_path.rglob("*.spool"))) > 5
    assert [int(record[0]) for record in everything(spool)] == list(range(30))


def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=100)
    spool.append([[b"a" * 50]])
    with pytest.raises(SpoolFullError) as refused:
        spool.append([[b"b" * 50]])
    assert 50 < refused.value.held < 100
    assert everything(spool) == [[b"a" * 50]]


def test_a_torn_tail_is_ignored_and_what_precedes_it_is_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=MIB)
    spool.append([[b"whole"]])
    segment = spool.oldest()
    assert segment
    whole = segment.read_bytes()
    for torn in range(1, len(whole)):
        segment.write_bytes(whole + whole[:torn])
        assert [list(record) for record in read(segment)] == [[b"whole"]]


def test_zeros_at_the_end_as_a_power_failure_leaves_them_are_ignored(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=MIB)
    spool.append([[b"whole"]])
    segment = spool.oldest()
    assert segment
    whole = segment.read_bytes()
    for zeros in (1, 7, 8, 9, 4096):
        segment.write_bytes(whole + bytes(zeros))
        assert [list(record) for record in read(segment)] == [[b"whole"]]


def test_a_damaged_record_is_never_replayed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=MIB)
    spool.append([[b"good"], [b"rotten"]])
    segment = spool.oldest()
    assert segment
    segment.write_bytes(segment.read_bytes().replace(b"rotten", b"rottem"))
    assert [list(record) for record in read(segment)] == [[b"good"]]


def test_a_crash_leaves_everything_to_the_next_process(tmp_path: Path) -> None:
    dead = Spool(tmp_path, capacity=MIB)
    dead.append([[b"left behind"]])
    os.close(dead._own._lock)  # what the kernel does for a killed process
    heir = Spool(tmp_path, capacity=MIB)
    assert heir.held > 0
    assert everything(heir) == [[b"left behind"]]
    assert heir.empty
    assert [path.name for path in tmp_path.iterdir()] == [heir._own.path.name]


def test_a_folder_whose_process_lives_is_left_alone(tmp_path: Path) -> None:
    alive = Spool(tmp_path, capacity=MIB)
    alive.append([[b"mine"]])
    other = Spool(tmp_path, capacity=MIB)
    assert other.empty
    assert other.adopt() == 0
    assert everything(alive) == [[b"mine"]]


def test_a_full_disk_takes_all_of_a_group_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, capacity=MIB)
    spool.append([[b"before"]])

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        with pytest.raises(SpoolFullError, match="No space left"):
            spool.append([[b"refused"]])
    spool.append([[b"after"]])
    assert everything(spool) == [[b"before"], [b"after"]]


def test_a_clean_close_leaves_no_empty_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path, capacity=MIB)
    spool.append([[b"x"]])
    everything(spool)
    spool.close()
    assert list(tmp_path.iterdir()) == []
