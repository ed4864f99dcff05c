"""What a replay tells: a summary for people, the raw results for machines."""

from dataclasses import asdict
from typing import Any

import orjson

from app.replay.figures import Times, show_credits
from app.replay.run import Results


def summary(results: Results) -> list[str]:
    """Return the summary, line by line."""
    options, accounts, records = results.options, results.accounts, results.records
    calls = sum(account.calls for account in accounts)
    ran_out = sum(account.refused > 0 for account in accounts if account.runs_out)
    overspend = sum(record.overspend for record in records)
    title = f"Replay {results.run} of {options.trace.name} at {options.speed:g}x"
    return [
        f"{title} over {options.organizations} organizations",
        _line("calls", f"{calls:,} in {results.seconds:.1f} s, {calls / results.seconds:.1f}/s"),
        _line("settled", f"{sum(account.settled for account in accounts):,}"),
        _line(
            "refused",
            f"{sum(account.refused for account in accounts):,};"
            f" {ran_out} of {options.exhausted} organizations meant to run out did",
        ),
        _line("failed", f"{sum(account.failed for account in accounts):,}"),
        _line("retries", f"{results.retries:,}"),
        _line("expected", show_credits(sum(account.expected for account in accounts))),
        _line(
            "charged",
            f"{show_credits(sum(record.charged for record in records))} by the ledgers,"
            f" {show_credits(sum(record.used_this_period for record in records))} by the balances",
        ),
        _line("overspend", show_credits(overspend)),
        _line("reserve", _times(results.reserve)),
        _line("settle", _times(results.settle)),
        _line("behind schedule", _times(results.behind)),
        _line("pushes", _pushes(results)),
        _line("client CPU", f"{results.cpu_seconds:.1f} s"),
        _line("audit", _audit(results)),
        *_verdict(results),
    ]


def raw(results: Results) -> bytes:
    """Return all results as JSON; amounts in micro-credits, times in milliseconds."""
    options = asdict(results.options)
    del options["key"]
    document: dict[str, Any] = {
        "run": results.run,
        "options": {**options, "trace": results.options.trace.name},
        "seconds": results.seconds,
        "scheduled_seconds": results.plan.seconds,
        "cpu_seconds": results.cpu_seconds,
        "retries": results.retries,
        "failures": dict(results.failures),
        "reserve_milliseconds": results.reserve.milliseconds(),
        "settle_milliseconds": results.settle.milliseconds(),
        "behind_milliseconds": results.behind.milliseconds(),
        "pushes": results.pushes,
        "sockets": results.sockets,
        "reconnects": results.reconnects,
        "organizations": [
            {
                **{k: v for k, v in asdict(account).items() if k != "fingerprint"},
                "recorded": {k: v for k, v in asdict(record).items() if k != "fingerprint"},
                "overspend": record.overspend,
            }
            for account, record in zip(results.accounts, results.records, strict=True)
        ],
        "audited": results.findings is not None,
        "findings": results.findings or [],
        "problems": results.problems,
        "adds_up": not results.problems,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _line(name: str, told: str) -> str:
    return f"  {name:<16} {told}"


def _times(times: Times) -> str:
    return "  ".join(f"{name} {value:g} ms" for name, value in times.milliseconds().items())


def _pushes(results: Results) -> str:
    order = "no" if results.wrong_pushes else "yes"
    return (
        f"{results.pushes:,} over {results.sockets} sockets, {results.reconnects} reconnects;"
        f" versions only rose, up to the final balance: {order}"
    )


def _audit(results: Results) -> str:
    if results.findings is None:
        return "not run: it reads the database, give --audit-database or DATABASE_URL"
    if results.findings:
        return f"{len(results.findings)} findings"
    return f"clean, {len(results.accounts)} accounts"


def _verdict(results: Results) -> list[str]:
    if not results.problems:
        return ["Everything adds up."]
    return ["It does NOT add up:", *(f"  {problem}" for problem in results.problems)]
