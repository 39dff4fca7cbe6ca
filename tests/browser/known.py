"""A little feedback made by hand, and what the page must say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.events import FeedbackEvent
from tests.browser.site import langwatch, lunary

PROJECT = "known"
NOW = datetime.now(UTC)
FIRST_DAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=12)
DAYS = 4
PERIOD = (
    f"from={FIRST_DAY.isoformat().replace('+00:00', 'Z')}"
    f"&to={(FIRST_DAY + timedelta(days=DAYS)).isoformat().replace('+00:00', 'Z')}&tz=UTC&interval=day"
)
"""Four whole days, for the address of the page."""
LONGER = PERIOD.replace(f"{FIRST_DAY + timedelta(days=DAYS):%Y-%m-%d}", f"{FIRST_DAY + timedelta(days=8):%Y-%m-%d}")
"""All that is known from the first of them on."""

UP = [3, 0, 2, 4]
DOWN = [1, 0, 2, 8]
UNDONE = [0, 0, 1, 0]
SATISFACTION = [0.75, None, 0.5, 4 / 12]
BEFORE = [1.0, None, None, None]
"""Of the four days before: two up on the first of them."""

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
STORY = "story-with-a-slash/and ümlaut"


def events() -> list[FeedbackEvent]:
    made = []
    for day in range(DAYS):
        at = FIRST_DAY + timedelta(days=day, hours=9)
        for number in range(UP[day]):
            up_at = at + timedelta(minutes=number)
            made += [_vote(f"up-{day}-{number}", up_at, 1, model="sonata")]
        for number in range(DOWN[day]):
            comment = f"Bad answer {day}.{number}" if day != 2 else None
            made.append(_vote(f"down-{day}-{number}", at + timedelta(minutes=20 + number), -1, comment, model="etude"))
        for number in range(UNDONE[day]):
            made.append(_vote(f"undone-{day}-{number}", at, 1, model="etude"))
            made.append(_vote(f"undone-{day}-{number}", at + timedelta(hours=1), 0, model="etude"))
    before = FIRST_DAY - timedelta(days=DAYS)
    made += [_vote(f"before-{number}", before + timedelta(hours=5), 1, model="sonata") for number in range(2)]
    return made + _told_apart()


def _vote(trace: str, at: datetime, vote: float, comment: str | None = None, *, model: str) -> FeedbackEvent:
    details: dict[str, str | None] = {"model": model}
    if comment is not None:
        details["feedback"] = comment
    return langwatch(PROJECT, trace, at, metrics={"vote": vote}, details=details, user=f"user-{trace[:2]}")


def _told_apart() -> list[FeedbackEvent]:
    """After the known days: what only some tests look at."""
    at = FIRST_DAY + timedelta(days=DAYS + 1, hours=3)
    return [
        langwatch(
            PROJECT, "hostile", at, metrics={"vote": -1}, details={"feedback": HOSTILE, "<i>key</i>": "<u>value</u>"}
        ),
        langwatch(PROJECT, STORY, at, metrics={"vote": 1}, details={"feedback": "First I liked it"}),
        langwatch(
            PROJECT, STORY, at + timedelta(minutes=5), metrics={"vote": -1}, details={"feedback": "Now I do not"}
        ),
        lunary(PROJECT, "8f7c3f0a-1d1b-4a63-9a5f-8f3c31a0a001", at, {"thumb": "down", "comment": "Lunary says hello"}),
        langwatch(PROJECT, "signal", at, kind="waited_to_finish", metrics={"finished": 1}),
    ]
