"""A crowd: many callers who want the same amount of one account at the same moment."""

import asyncio
from dataclasses import dataclass
from random import Random

from app.credits import Credits, ReserveRequest
from tests.support.accounts import Accounts
from tests.support.races import figures

CALLERS = 200
CONNECTIONS = 16


@dataclass(frozen=True)
class Crowd:
    """`CALLERS` who want `amount` each, `set_size` of them to a call.

    The account has room for `places` of them, and `rest` micro-credits more.
    """

    places: int
    amount: int
    rest: int = 0
    set_size: int = 1


def crowds(count: int, seed: int) -> list[Crowd]:
    """Return crowds of all kinds, in single calls and in sets by turns."""
    random = Random(seed)
    made = []
    for number in range(count):
        amount = random.choice([1, random.randint(2, 1_000_000), random.randint(10**6, 10**12)])
        made.append(
            Crowd(
                places=random.randint(0, CALLERS - 1),
                amount=amount,
                rest=random.randrange(amount),
                set_size=random.randint(2, 16) if number % 2 else 1,
            )
        )
    return made


async def let_in(crowd: Crowd, credits: Credits, accounts: Accounts) -> None:
    """Let everybody reserve at once; exactly as many as there are places may come in."""
    account = await accounts.open()
    opening = crowd.places * crowd.amount + crowd.rest
    if opening:
        await credits.issue_grant(account, opening, "top_up", "opening")
    requests = [ReserveRequest(f"caller-{number}", crowd.amount) for number in range(CALLERS)]
    answers = await asyncio.gather(
        *(
            credits.reserve_set(account, requests[start : start + crowd.set_size])
            for start in range(0, CALLERS, crowd.set_size)
        )
    )
    rows = [row for answered in answers for row in answered]
    accepted = [row for row in rows if row.outcome == "OK"]
    refused = [row for row in rows if row.outcome != "OK"]

    assert len(accepted) == crowd.places, f"oversold by {len(accepted) - crowd.places}"
    # The account was opened under version 1 and got its credits under version 2.
    assert sorted(row.version for row in accepted) == [*range(3, 3 + crowd.places)]
    assert figures(await accounts.balance(account)) == (
        crowd.rest,
        crowd.places * crowd.amount,
        0,
    )
    # Nobody is refused before the last place is taken.
    assert [row.outcome for row in refused] == ["INSUFFICIENT_CREDITS"] * len(refused)
    assert [row.facts for row in refused] == [
        {
            "required": crowd.amount,
            "spendable": crowd.rest,
            "shortfall": crowd.amount - crowd.rest,
        }
    ] * len(refused)
