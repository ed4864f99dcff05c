"""Play histories and check them."""

from collections import Counter
from collections.abc import Sequence

from app.credits import Credits
from app.usage import Usage
from tests.proof.ground import Ground
from tests.proof.history.callers import ACCOUNTS, CALLERS, Callers
from tests.proof.history.check import Told, check
from tests.proof.model.compare import Mismatch
from tests.proof.model.stored import compare_stored
from tests.proof.verdict import Verdict, Zero

# Of one history; the next begins with other accounts.
CALLS = 20_000
# So many calls of one account are to be under way together at some time.
AT_ONCE = 8
REPLAY = "python -m tests.proof.history --count {} --seed {}"
# What so many at once must have met.
OUTCOMES = (
    "reserve OK",
    "reserve beside other accounts",
    "settle beside other accounts",
    "release beside other accounts",
    "reserve INSUFFICIENT_CREDITS",
    "reserve_set INSUFFICIENT_CREDITS",
    "settle OK",
    "settle RESERVATION_SETTLED",
    "settle RESERVATION_RELEASED",
    "release RESERVATION_SETTLED",
    "extend OK",
    "extend INSUFFICIENT_CREDITS",
    "deduct OK",
    "deduct INSUFFICIENT_CREDITS",
    "refund OK",
    "refund REFUND_EXCEEDS_SETTLED",
    "void_grant OK",
    "adjust INSUFFICIENT_CREDITS",
    "check_balance OK",
)


async def prove(ground: Ground, count: int, seed: int) -> Verdict:
    """Play so many calls, in histories of 20,000, each on a database of its own."""
    verdict = Verdict("history", seed)
    wrong = Zero("answers that fit no order, or not that of time", 0, "calls")
    unlike = Zero("accounts whose rows the model does not have", 0, "accounts")
    findings = Zero("findings of both audits", 0, "accounts")
    lonely = Zero(
        f"histories with fewer than {AT_ONCE} calls of one account at once", 0, "histories"
    )
    outcomes: Counter[str] = Counter()
    for number in range(-(-count // CALLS)):
        calls = min(CALLS, count - number * CALLS)
        replay = f"{REPLAY.format(calls, seed + number)}: "
        async with ground.opened() as (database, admin):
            callers = Callers(database, admin, seed + number)
            await callers.play(calls)
            told = callers.recorder.calls
            wrong.of += len(told)
            for found in check(told, callers.accounts):
                wrong.happened(replay + found)
            for account in callers.accounts:
                unlike.of += 1
                try:
                    await compare_stored(database, account, since=0)
                except Mismatch as mismatch:
                    unlike.happened(f"{replay}{mismatch}")
            findings.of += len(callers.accounts)
            for finding in [*await Credits(database).audit(), *await Usage(database).audit()]:
                findings.happened(f"{replay}{finding}")
            lonely.of += 1
            if at_once(told) < AT_ONCE:
                lonely.happened(f"{replay}{at_once(told)} at once")
            outcomes += callers.outcomes
    never = Zero("outcomes never met", len(OUTCOMES), "outcomes")
    for outcome in OUTCOMES:
        if not outcomes[outcome]:
            never.happened(outcome)
    verdict.zeros = [wrong, unlike, findings, never, lonely]
    verdict.figures = {"callers": CALLERS, "accounts of a history": ACCOUNTS}
    return verdict


def at_once(calls: Sequence[Told]) -> int:
    """Return how many calls of one account were under way together, at most."""
    most = 0
    for account_id in {call.account_id for call in calls}:
        mine = [call for call in calls if call.account_id == account_id]
        under_way = 0
        for _, step in sorted([(c.started, 1) for c in mine] + [(c.ended, -1) for c in mine]):
            under_way += step
            most = max(most, under_way)
    return most
