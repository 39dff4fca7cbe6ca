"""What people write under an answer: short, long, empty, in any script, and what breaks careless software."""

from __future__ import annotations

from random import Random

_SHORT = (
    "This response was helpful!",
    "wrong",
    "👍",
    "Спасибо, очень помогло",
    "答案不对，请再试一次。",  # noqa: RUF001
    "שגיאה בתשובה — לא נכון",
    "e\u0301galite\u0301 et \U0001f469\u200d\U0001f469\u200d\U0001f467",
    'tab\tnew\nline\r\nand "quotes" with \\ back\\slashes',
    "'; DROP TABLE feedback_events; --",
    "FORMAT Values (1, 'x')",
    "nul \u0000 byte",
    "\ufeffwith a byte order mark",
    '{"looks": "like JSON"}',
    " \u2028 ",
    "NULL",
    "\\N",
)
_LINES = (
    "The first half answers the question, the second half makes up a source. ",
    "Le résumé oublie l’exception du paragraphe 3. ",  # noqa: RUF001
    "数字和表格不一致。",
)

HALF_A_PAIR = "cut off \ud83d"
"""Half of a surrogate pair, as JavaScript makes by cutting a text in the middle of an emoji."""


def comment(random: Random) -> str:
    """Mostly short; one in a hundred empty, one in a hundred long, one in two hundred very long."""
    draw = random.random()
    if draw < 0.01:
        return ""
    if draw < 0.02:
        return _LINES[int(random.random() * 3)] * (1 + int(random.random() * 40))
    if draw < 0.025:
        return _LINES[int(random.random() * 3)] * 300
    text = _SHORT[int(random.random() * len(_SHORT))]
    return f"{text} {int(random.random() * 1000)}" if draw < 0.6 else text


def prompt(random: Random) -> str:
    """About 2 kB, as a question to a model with its context is."""
    return f"Question {int(random.random() * 1e9)}: " + _LINES[0] * 27
