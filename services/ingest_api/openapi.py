"""The OpenAPI 3.1 document of the intake, made from the wire models, and a plain page that shows it."""

from __future__ import annotations

import html
import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.formats.langwatch import TrackEvent
from shared.formats.lunary_wire import EventResult, FeedbackPatch, IngestRequest, IngestResponse

_MODELS: tuple[type[BaseModel], ...] = (TrackEvent, IngestRequest, IngestResponse, EventResult, FeedbackPatch)
_LANGWATCH_KEYS: list[dict[str, list[str]]] = [{"langwatchBearer": []}, {"langwatchToken": []}, {"langwatchBasic": []}]
_LUNARY_KEYS: list[dict[str, list[str]]] = [{"lunaryBearer": []}, {"lunaryKey": []}]

_MESSAGE = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}, "message": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def document(version: str) -> dict[str, Any]:
    """The whole document, as JSON values."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plaudit intake",
            "version": version,
            "description": "Takes feedback from LangWatch and Lunary clients as those services do. "
            "200 means that it is durably in the log.",
        },
        "paths": {
            "/api/track_event": {"post": _track("trackEvent", "LangWatch: track an event")},
            "/api/events/track": {"post": _track("trackEventCanonical", "LangWatch: track an event")},
            "/v1/runs/ingest": {"post": _ingest()},
            "/api/report": {"post": _report()},
            "/v1/runs/{id}/feedback": {"parameters": [_run_id()], "get": _get_feedback(), "patch": _patch_feedback()},
        },
        "components": {"schemas": definitions["$defs"], "securitySchemes": _security_schemes()},
    }


def _security_schemes() -> dict[str, Any]:
    return {
        "langwatchBearer": {"type": "http", "scheme": "bearer"},
        "langwatchToken": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
        "langwatchBasic": {"type": "http", "scheme": "basic", "description": "project id : key"},
        "lunaryBearer": {"type": "http", "scheme": "bearer", "description": "Public or private key."},
        "lunaryKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }


def _track(operation: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": _LANGWATCH_KEYS,
        "requestBody": _body("TrackEvent"),
        "responses": {
            "200": _json("Taken.", {"type": "object", "properties": {"message": {"const": "Event tracked"}}}),
            "400": _json("Not JSON, or against the rules; the sentence says which.", _ERROR),
            "401": _json("No credentials, or none that fit.", _ERROR),
            "403": _json("The key may only read.", _ERROR),
            **_passing_refusals(_ERROR),
        },
    }


def _ingest() -> dict[str, Any]:
    return {
        "operationId": "ingestRuns",
        "summary": "Lunary: a batch of events",
        "security": _LUNARY_KEYS,
        "requestBody": _body("IngestRequest"),
        "responses": {
            "200": _json("Each event with its own result.", _ref("IngestResponse")),
            **_lunary_refusals(),
        },
    }


def _report() -> dict[str, Any]:
    return {
        "operationId": "report",
        "summary": "Lunary, old SDKs: the key is `projectId` or `app` of the first event",
        "requestBody": _body("IngestRequest"),
        "responses": {
            "200": _json("Each event with its own result.", {"type": "array", "items": _ref("EventResult")}),
            "402": _json("The first event names no project.", _MESSAGE),
            **_lunary_refusals(),
        },
    }


def _get_feedback() -> dict[str, Any]:
    return {
        "operationId": "getFeedback",
        "summary": "Lunary: what holds for a run, all patches merged; null if nothing was ever said",
        "security": _LUNARY_KEYS,
        "responses": {
            "200": _json("Keys and values.", {"type": ["object", "null"]}),
            **_lunary_refusals(),
        },
    }


def _patch_feedback() -> dict[str, Any]:
    return {
        "operationId": "patchFeedback",
        "summary": "Lunary: change a run's feedback; needs a private key",
        "security": _LUNARY_KEYS,
        "requestBody": _body("FeedbackPatch"),
        "responses": {
            "200": _json("Changed.", {"type": "object"}),
            "422": _json("A thumb or comment of the wrong kind.", _ERROR),
            **_lunary_refusals(),
        },
    }


def _lunary_refusals() -> dict[str, Any]:
    return {
        "400": _json("Not JSON, or no batch of events.", _MESSAGE),
        "401": _json("No key, or none that fits.", _MESSAGE),
        "404": _json("An X-API-Key that is no UUID.", _MESSAGE),
        "415": _json("A Content-Encoding other than gzip and deflate.", _MESSAGE),
        **_passing_refusals(_MESSAGE, slow_down={"text/plain": {"schema": {"type": "string"}}}),
    }


def _passing_refusals(schema: dict[str, Any], slow_down: dict[str, Any] | None = None) -> dict[str, Any]:
    too_many = _json("Over the project's rate limit.", schema)
    return {
        "408": _json("The body did not arrive in time.", schema),
        "413": _json("The body is too large.", schema),
        "429": {**too_many, "headers": _RETRY_AFTER, "content": slow_down or too_many["content"]},
        "503": {**_json("Not stored: try again.", schema), "headers": _RETRY_AFTER},
    }


def _run_id() -> dict[str, Any]:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "A run id of any shape.",
        "schema": {"type": "string", "minLength": 1},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _body(model: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(model)}}}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def page(described: dict[str, Any]) -> str:
    """The document as one plain page: no script, nothing from elsewhere."""
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    )
    models = "".join(
        f"<h3 id='{html.escape(name)}'>{html.escape(name)}</h3><pre>{html.escape(json.dumps(schema, indent=2))}</pre>"
        for name, schema in described["components"]["schemas"].items()
    )
    title = html.escape(described["info"]["title"])
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width'><style>body{font:16px/1.5 system-ui;margin:2rem auto;"
        "max-width:60rem;padding:0 1rem}pre{overflow:auto;background:#8881;padding:1rem}dt{font-weight:600}"
        ":root{color-scheme:light dark}</style>"
        f"<h1>{title}</h1><p>{html.escape(described['info']['description'])} "
        "The same as a machine reads it: <a href='/openapi.json'>openapi.json</a>.</p>"
        f"{operations}<h2>Models</h2>{models}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    model = body.get("$ref", "").rpartition("/")[2]
    sends = f"<p>Body: <a href='#{html.escape(model)}'>{html.escape(model)}</a></p>" if model else ""
    answers = "".join(
        f"<dt>{html.escape(status)}</dt><dd>{html.escape(answer['description'])}</dd>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation['summary'])}</p>{sends}<dl>{answers}</dl>"
    )
