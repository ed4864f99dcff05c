"""Logs and metrics: structured lines with a request id, figures for Prometheus."""

import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

DATABASE_SECONDS = Histogram(
    "exchequer_database_seconds",
    "Time of one call of a SQL function, waiting for a connection included.",
    ["function"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
CREDIT_OPERATIONS = Counter(
    "exchequer_credit_operations_total",
    "Requests that move credits, by operation and outcome.",
    ["operation", "outcome"],
)
PUBLISH_FAILURES = Counter(
    "exchequer_publish_failures_total", "Pushes that did not reach Redis; the feed heals them."
)
FEED_SUBSCRIBERS = Gauge("exchequer_feed_subscribers", "Subscribers of live feeds.", ["topic"])
POOL_CONNECTIONS = Gauge(
    "exchequer_pool_connections", "Connections of the Postgres pool.", ["state"]
)
OPEN_RESERVATIONS = Gauge(
    "exchequer_open_reservations", "Reservations that are pending, as of the last scrape."
)
REQUESTS = Counter("exchequer_requests_total", "HTTP requests.", ["path", "status"])

# A key stands wherever a client has put it: in a path, for one.
_KEY_FORM = re.compile(r"exq_[po]_[0-9A-Za-z]+")
_SECRET_NAMES = frozenset({"authorization", "secret", "password", "key", "token", "cookie"})


def redact(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Keep secrets out of logs, whoever put them there."""
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if name.lower() in _SECRET_NAMES or name.lower().endswith(("_secret", "_password")):
        return "[redacted]"
    if isinstance(value, str):
        return _KEY_FORM.sub("[redacted]", value) if "exq_" in value else value
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", inner) for inner in value]
    return value


def _with_request_id(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def configure_logging(level: str = "info", *, json: bool = True) -> None:
    """Send every log line, the libraries' too, through one pipeline to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _with_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # First made text: what an exception says may hold a key as well.
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").addFilter(_is_a_fault)
    # One line for each request is the edge's own, with its id and without a query string.
    logging.getLogger("uvicorn.access").disabled = True


def _is_a_fault(record: logging.LogRecord) -> bool:
    """Say whether a line of the HTTP server's is not only what a client did wrong.

    It tells of a socket's bytes that are no text as of an error, with its traceback; the
    client has been told, by 1007, and anybody could fill a log with them.
    """
    return not str(record.msg).startswith("Invalid UTF-8 sequence received from client")


log = structlog.get_logger("exchequer")
