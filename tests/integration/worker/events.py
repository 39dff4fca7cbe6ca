"""Events as the vendors' clients send them."""

from __future__ import annotations

import json
from typing import Any


def thumb(trace: str, vote: float = 1, **more: Any) -> bytes:
    event = {"trace_id": trace, "event_type": "thumbs_up_down", "metrics": {"vote": vote}, **more}
    return json.dumps(event).encode()


def lunary_feedback(run: str, feedback: dict[str, Any], **more: Any) -> bytes:
    event = {"type": "llm", "event": "feedback", "runId": run, "feedback": feedback, **more}
    return json.dumps(event).encode()
