"""The report, for people."""

from tests.fuzzing.run import Report

_MIB = 2**20
_COSTLIEST = 5


def told(report: Report) -> str:
    """Return the figures, and every failure with what is needed to play it again."""
    n = report.played
    failed = sum(each.count for each in report.failures.values())
    unanswered = "a good request" in report.failures
    lines = [
        f"{n} requests, seed {report.seed}, {len(report.kinds)} kinds, {report.seconds:.1f} s",
        f"  failures              {failed} of {n}",
        f"  5xx answers           {_with(report, '5')} of {sum(report.outcomes.values())}",
        f"  faults in the log     {report.suspects} of {n}",
        f"  good ones between     {report.good}, {'NOT ' * unanswered}all answered",
    ]
    if "warm" in report.memory:
        warm, end = report.memory["warm"], report.memory["end"]
        lines.append(
            f"  memory                {warm / _MIB:.1f} MiB once warm,"
            f" {end / _MIB:.1f} MiB at the end ({(end - warm) / max(warm, 1):+.1%})"
        )
    else:
        lines.append("  memory                not judged: too few requests to fill the caches")
    lines.append(
        "  open files            clients' {}, others {}".format(*report.descriptors)
        + "; at the end {}, {}".format(*report.descriptors_after)
    )
    refused = sum(cost.count for cost in report.costs.values())
    lines.append(f"  CPU per refusal, measured alone: {refused} of {len(report.costs)} kinds")
    ranked = sorted(report.costs.items(), key=lambda pair: -pair[1].mean)
    lines += [
        f"    {kind:<22} {cost.mean * 1000:6.1f} ms (of {cost.count};"
        f" most {cost.worst * 1000:.1f} ms, index {cost.worst_index})"
        for kind, cost in ranked[:_COSTLIEST]
    ]
    lines.append("  what came: " + _listed(dict(report.outcomes.most_common())))
    for what, failure in report.failures.items():
        lines += [f"\nFAILED {failure.count} times: {what}", *failure.examples]
    return "\n".join(lines) + "\n"


def _with(report: Report, beginning: str) -> int:
    in_outcomes = sum(n for name, n in report.outcomes.items() if name[:1] == beginning)
    failed = report.failures.get("a 5xx")
    return in_outcomes + (failed.count if failed else 0)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
