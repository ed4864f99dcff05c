"""Organizations to measure with: one whose ledger is long and varied, others with credits."""

import secrets
from dataclasses import dataclass
from uuid import UUID

from app.core.database import Database, PoolLimits
from app.credits import Actor, Credits, ReserveRequest, SettleRequest
from app.identity import Identity
from benchmarks.books import CREDIT, ENOUGH
from benchmarks.harness import Installation

SPENDERS = 16
LEDGER_ROWS = 240
_FLOW = Actor("project_key", "0192f0c1-7d3e-7c63-9a55-3d0f5f0f6c11", "nightly import")
_PERSON = Actor("admin", "bootstrap", "bootstrap administrator")
_FEATURES = ("assistant", "search", "summary", "translation")
_MODELS = ("small-2026", "large-2026", "vision-2026")


@dataclass(frozen=True)
class Accounts:
    """Whose credits are read, reserved and watched."""

    ledger: UUID
    spenders: list[UUID]
    hot: UUID


async def make_accounts(served: Installation, ledger_rows: int = LEDGER_ROWS) -> Accounts:
    """Make the organizations and their books."""
    database = await Database.connect(served.database_url, PoolLimits(min_size=1, max_size=2))
    try:
        identity, credits = Identity(database), Credits(database)
        project = (await identity.organization(UUID(served.organization))).project_id

        async def make(name: str) -> UUID:
            made = await identity.create_organization(project, name)
            await credits.issue_grant(
                made.id, ENOUGH, "top_up", "first", reason="enough", actor=_PERSON
            )
            return made.id

        accounts = Accounts(
            ledger=await make("Ledger"),
            spenders=[await make(f"Spender {number}") for number in range(SPENDERS)],
            hot=await make("Hot"),
        )
        for number in range(ledger_rows):
            await _WRITERS[number % len(_WRITERS)](credits, accounts.ledger, number)
        # Something is reserved while the balance is read.
        await credits.reserve(accounts.ledger, ReserveRequest("open", 7 * CREDIT, 86_400))
        return accounts
    finally:
        await database.close()


async def _settle(credits: Credits, account: UUID, number: int) -> None:
    reserved = await credits.reserve(
        account,
        ReserveRequest(
            f"call-{number}",
            3 * CREDIT,
            feature=_FEATURES[number % len(_FEATURES)],
            quality="high",
            model=_MODELS[number % len(_MODELS)],
            price_version="2026-10",
            end_customer_ref=f"customer-{number}",
            related_type="conversation",
            related_id=f"c-{number:06d}",
            related_name=f"Question number {number}",
            actor=_FLOW,
            metadata={"attempt": number % 3, "tags": ["import", "nightly"], "ratio": 0.25},
        ),
    )
    await credits.settle(
        account,
        SettleRequest(
            reserved.reservation_id,
            CREDIT + 12_345 * (number + 1),
            operation="chat",
            model=_MODELS[number % len(_MODELS)],
            input_tokens=1_000 + number,
            output_tokens=100 + number,
            trace_id=secrets.token_hex(16),
            actor=_FLOW,
        ),
    )


async def _deduct(credits: Credits, account: UUID, number: int) -> None:
    await credits.deduct(
        account,
        250_000 + number,
        f"deduct-{number}",
        feature=_FEATURES[number % len(_FEATURES)],
        end_customer_ref=f"customer-{number}",
        reason="a document was read",
        actor=_FLOW,
        metadata={"pages": number, "source": {"kind": "upload", "name": f"report-{number}.pdf"}},
    )


async def _grant(credits: Credits, account: UUID, number: int) -> None:
    await credits.issue_grant(
        account,
        5 * CREDIT,
        "promotional",
        f"grant-{number}",
        # Drawn before the large one, so that rows draw from several.
        priority=10,
        source_ref=f"campaign-{number}",
        reason="thank you",
        actor=_PERSON,
        metadata={"campaign": "autumn"},
    )


async def _refund(credits: Credits, account: UUID, number: int) -> None:
    charged = await credits.deduct(account, CREDIT, f"charged-{number}", feature="search")
    await credits.refund(
        account,
        f"refund-{number}",
        version=charged.version,
        amount=CREDIT // 2,
        reason="it did not answer",
        actor=_PERSON,
    )


async def _plain(credits: Credits, account: UUID, number: int) -> None:
    await credits.deduct(account, 1_500 * (number + 1), f"plain-{number}")


async def _adjust(credits: Credits, account: UUID, number: int) -> None:
    await credits.adjust(
        account, -100_000, f"adjust-{number}", "counted twice", actor=_PERSON, metadata={"n": 1}
    )


_WRITERS = (_settle, _deduct, _grant, _refund, _plain, _adjust)
