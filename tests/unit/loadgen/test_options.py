from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.loadgen.options import BatchSize, LoadOptions, OptionsError, find_target, parse_batch_sizes, parse_mix

READY = {
    "ingest_url": "http://127.0.0.1:8080",
    "analytics_url": "http://127.0.0.1:8081",
    "clickhouse_url": "http://u:p@127.0.0.1:8123/plaudit",
    "redis_url": "redis://127.0.0.1:1",
    "project": "default",
    "keys": {"langwatch": "sk-lw-1", "lunary_public": "1-1", "lunary_private": "2-2", "read": "r"},
}


@pytest.fixture
def ready_file(tmp_path: Path) -> Path:
    path = tmp_path / "ready.json"
    path.write_text(json.dumps(READY))
    return path


def test_the_ready_file_says_where_to_send_and_as_whom(ready_file: Path) -> None:
    target = find_target(LoadOptions(ready_file=ready_file, verify=True))
    assert (target.address, target.project) == (("127.0.0.1", 8080), "default")
    assert (target.langwatch_key, target.lunary_key) == ("sk-lw-1", "1-1")


def test_what_is_given_by_itself_goes_before_the_ready_file(ready_file: Path) -> None:
    options = LoadOptions(ready_file=ready_file, ingest_url="http://host:9", langwatch_key="k", project="p")
    target = find_target(options)
    assert (target.address, target.project) == (("host", 9), "p")
    assert (target.langwatch_key, target.lunary_key) == ("k", "1-1")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (LoadOptions(), "--ready-file"),
        (LoadOptions(ingest_url="http://h:1", langwatch_key="k"), "--lunary-key"),
        (LoadOptions(ingest_url="http://h:1", lunary_key="k"), "--langwatch-key"),
        (LoadOptions(ingest_url="https://h:1"), "http://host:port"),
        (
            LoadOptions(ingest_url="http://h:1", lunary_key="k", mix="lunary=1", project="p", verify=True),
            "--clickhouse-url",
        ),
        (LoadOptions(ingest_url="http://h:1", lunary_key="k", mix="lunary=1", verify=True), "--project"),
        (LoadOptions(ready_file=Path("/nowhere/ready.json")), "/nowhere/ready.json"),
    ],
)
def test_what_is_missing_is_said_by_its_option(options: LoadOptions, named: str) -> None:
    with pytest.raises(OptionsError, match=named):
        find_target(options)


def test_a_source_that_gets_no_requests_needs_no_key() -> None:
    options = LoadOptions(ingest_url="http://h:1", langwatch_key="k", mix="langwatch=1")
    assert find_target(options).lunary_key == ""


def test_a_file_that_is_no_ready_file_is_told_from_one(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text('{"ingest_url": 5}')
    with pytest.raises(OptionsError, match="not a ready file"):
        find_target(LoadOptions(ready_file=path))


def test_mix_weights_need_not_add_up_to_one() -> None:
    assert parse_mix("langwatch=3,lunary=1") == 0.75
    assert parse_mix("lunary=5") == 0.0


@pytest.mark.parametrize(
    "text", ["", "langwatch", "langwatch=x", "other=1", "langwatch=0", "langwatch=-1", "lunary=nan"]
)
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="--mix"):
        parse_mix(text)


def test_batch_sizes_are_single_sizes_or_ranges() -> None:
    assert parse_batch_sizes("1=0.9,2-21=0.1") == (BatchSize(1, 1, 0.9), BatchSize(2, 21, 0.1))


@pytest.mark.parametrize("text", ["", "1", "0=1", "5-2=1", "a=1", "1=x", "1=0"])
def test_batch_sizes_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="--lunary-batch"):
        parse_batch_sizes(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("events", 0),
        ("connections", 0),
        ("processes", 0),
        ("duplicates", 1.5),
        ("undo", -0.1),
        ("rate", -1.0),
        ("traces", 0),
    ],
)
def test_options_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(OptionsError, match=f"--{field}"):
        LoadOptions(**{field: value})  # type: ignore[arg-type]
