"""What a run against the model comes to."""

from tests.proof.model.run import Run
from tests.proof.model.seen import REQUIRED
from tests.proof.verdict import Verdict, Zero

# As many as CI plays: who plays fewer need not meet every rule.
WHOLE = 100_000


def verdict(run: Run) -> Verdict:
    """Return what was tried and what went wrong."""
    # What was counted zero times was not met.
    met = REQUIRED & set(+run.seen)
    answers = Zero("answers that differ", run.played, "operations")
    books = Zero("findings of both audits", run.accounts, "accounts")
    zeros = [answers, books]
    if run.found is not None:
        answers.happened(run.found.told())
    for finding in run.findings:
        books.happened(str(finding))
    if run.played >= WHOLE:
        rules = Zero("rules never met", len(REQUIRED), "rules and outcomes")
        for missing in sorted(REQUIRED - met):
            rules.happened(missing)
        zeros.append(rules)
    took = round(run.took, 1)
    figures = {
        "accounts": run.accounts,
        "whole accounts compared": run.compared,
        "rules and outcomes met": len(met),
        "operations a second": round(run.played / took) if took else 0,
        "rarest": ", ".join(
            f"{name} {run.seen[name]}" for name in sorted(met, key=lambda name: run.seen[name])[:4]
        ),
    }
    return Verdict("model", run.seed, zeros, figures, began=run.began)
