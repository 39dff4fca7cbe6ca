"""Feedback as a small support assistant gets it, for screenshots and browser tests: seeded, so that it is always the same.

What happened: ten days before the end ``atlas-2.1`` was released, and it answers German questions worse. The page should
show that at a glance. Everything goes through the vendors' own JSON and the shared normalizers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.events import FeedbackEvent, Receipt, Source
from shared.formats import NORMALIZERS
from shared.times import EPOCH

RELEASE_AGO = timedelta(days=10)
_HOURS = [1, 1, 1, 1, 1, 2, 4, 9, 15, 18, 19, 17, 13, 17, 19, 18, 16, 12, 9, 8, 7, 5, 3, 2]
_LOCALES = {"en": 52, "de": 27, "fr": 12, "es": 9}

BAD = {
    "en": [
        "It told me the refund takes 3 days. It is 14. Please check the policy page.",
        "Wrong. The plan it recommends was discontinued in March.",
        "Ignored the second half of my question completely.",
        "The link at the end is a 404.",
        "It keeps apologising instead of answering.",
        "The code does not compile: `client.orders.list()` takes no argument `since`.",
        "I asked for the VAT number on the invoice, it explained what VAT is.",
        "Too long. I only needed the phone number.",
        "It mixed up my two orders and quoted the wrong delivery date.",
        "Answer contradicts the one from yesterday for the very same question.",
        "Made up a setting that is not in the app (Settings > Billing > Split).",
    ],
    "de": [
        "Die Antwort ist plötzlich auf Englisch, obwohl ich auf Deutsch gefragt habe.",
        "Falsch: Die Kündigungsfrist beträgt einen Monat, nicht drei.",
        "Seit dem letzten Update versteht er meine Frage nicht mehr.",
        "Duzt mich auf einmal. Bitte wieder siezen.",
        "Halb Deutsch, halb Englisch. So kann ich das keinem Kunden schicken.",
        "Die Beträge stehen mit Punkt statt Komma, 1.250 € wurde zu 1,25 €.",
        "Hat die Frage nach der Rechnung mit den Lieferbedingungen beantwortet.",
    ],
    "fr": [
        "Le numéro de téléphone indiqué n'existe plus.",
        "Réponse trop vague, je voulais la procédure étape par étape.",
        "Il confond « résiliation » et « suspension ».",
    ],
    "es": ["No responde a lo que pregunté.", "El enlace lleva a una página que no existe."],
}
GOOD = [
    "Exactly what I needed, thanks!",
    "Solved it in one go 🎉",
    "Genau richtig, vielen Dank.",
    "Parfait, merci !",
    "Clear and short. More of this.",
    "The table made it easy to compare both plans.",
]


@dataclass(frozen=True)
class Answer:
    """One answer of the assistant that somebody judged."""

    trace: str
    user: str
    model: str
    locale: str
    at: datetime


def events(project: str, until: datetime, days: int = 60, per_day: int = 260, seed: int = 7) -> Iterator[FeedbackEvent]:
    """The feedback of ``days`` days up to ``until``, in no particular order."""
    draw = random.Random(seed)
    for day in range(days):
        midnight = (until - timedelta(days=day)).replace(hour=0, minute=0, second=0, microsecond=0)
        busy = (0.45 if midnight.weekday() > 4 else 1.0) * (1 + 0.25 * (days - day) / days)
        for _ in range(round(per_day * busy * draw.uniform(0.92, 1.08))):
            at = midnight + timedelta(hours=draw.choices(range(24), _HOURS)[0], seconds=draw.uniform(0, 3600))
            if at < until:
                yield from _judged(project, _answer(draw, at, until), draw, until)


def _answer(draw: random.Random, at: datetime, until: datetime) -> Answer:
    released = at > until - RELEASE_AGO
    return Answer(
        trace=f"trace_{draw.getrandbits(48):012x}",
        user=f"user_{int(draw.paretovariate(0.9)) % 900:03d}",
        model=draw.choices(
            ["atlas-2.1", "atlas-2.0", "atlas-mini"], [55 if released else 0, 20 if released else 70, 25]
        )[0],
        locale=draw.choices(list(_LOCALES), list(_LOCALES.values()))[0],
        at=at,
    )


def _chance_of_up(answer: Answer) -> float:
    chance = {"atlas-2.1": 0.83, "atlas-2.0": 0.84, "atlas-mini": 0.74}[answer.model]
    if answer.model == "atlas-2.1" and answer.locale == "de":
        return 0.41
    return chance - {"en": 0.0, "de": 0.01, "fr": 0.03, "es": 0.04}[answer.locale]


def _judged(project: str, answer: Answer, draw: random.Random, until: datetime) -> Iterator[FeedbackEvent]:
    """Votes, and sometimes a comment, second thoughts, a signal of another kind."""
    up = draw.random() < _chance_of_up(answer)
    comment = None
    if draw.random() < (0.05 if up else 0.16):
        comment = draw.choice(GOOD if up else BAD[answer.locale])
    lunary = draw.random() < 0.34
    kind = draw.random()
    if kind < 0.1:
        yield _langwatch(project, answer, "waited_to_finish", {"finished": float(up)}, {}, answer.at, draw)
    elif kind < 0.16:
        yield _langwatch(
            project,
            answer,
            "rating",
            {"stars": draw.choice([4, 5, 5]) if up else draw.choice([1, 2, 3])},
            {},
            answer.at,
            draw,
        )
    if lunary:
        patch: dict[str, Any] = {"thumb": "up" if up else "down", "model": answer.model, "locale": answer.locale}
        yield _lunary(project, answer, patch | ({"comment": comment} if comment else {}), answer.at, draw)
        return
    details = {"model": answer.model, "locale": answer.locale} | ({"feedback": comment} if comment else {})
    yield _langwatch(project, answer, "thumbs_up_down", {"vote": 1 if up else -1}, details, answer.at, draw)
    second = draw.random()
    later = answer.at + timedelta(minutes=draw.uniform(1, 90))
    if second < 0.035 and later < until:
        vote = 0 if second < 0.02 else (-1 if up else 1)
        yield _langwatch(project, answer, "thumbs_up_down", {"vote": vote}, details, later, draw)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _receipt(project: str, source: Source, at: datetime, draw: random.Random) -> Receipt:
    return Receipt(
        project_id=project,
        source=source,
        request_id=draw.randbytes(16),
        received_at=_micros(at) + draw.randrange(80_000, 900_000),
        entry_id="0-0",
        # Told as an import tells what is history.
        replayed=True,
    )


def _langwatch(
    project: str,
    answer: Answer,
    kind: str,
    metrics: dict[str, float],
    details: dict[str, str],
    at: datetime,
    draw: random.Random,
) -> FeedbackEvent:
    raw = {
        "trace_id": answer.trace,
        "event_type": kind,
        "metrics": metrics,
        "event_details": details or {"model": answer.model, "locale": answer.locale},
        "timestamp": _micros(at) // 1000,
        "user_id": answer.user,
        "thread_id": f"thread_{answer.user[5:]}",
    }
    body = json.dumps(raw, ensure_ascii=False).encode()
    return _event(NORMALIZERS[Source.LANGWATCH](_receipt(project, Source.LANGWATCH, at, draw), 0, body))


def _lunary(project: str, answer: Answer, patch: dict[str, Any], at: datetime, draw: random.Random) -> FeedbackEvent:
    raw = {
        "type": "thread",
        "event": "feedback",
        "runId": answer.trace,
        "feedback": patch,
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "userId": answer.user,
    }
    body = json.dumps(raw, ensure_ascii=False).encode()
    return _event(NORMALIZERS[Source.LUNARY](_receipt(project, Source.LUNARY, at, draw), 0, body))


def _event(event: FeedbackEvent | None) -> FeedbackEvent:
    assert event is not None
    return event
