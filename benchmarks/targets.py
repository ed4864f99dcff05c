"""The requests of the HTTP rows, to the API and to its control, and that both tell the same."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import orjson

from app.main import CONTRACT
from benchmarks.accounts import Accounts
from benchmarks.harness import Installation
from benchmarks.load import Target, get, post
from schema.documents import digest_of
from schema.edge import PATH

# As a client that speaks the specification's media type sends it.
_ACCEPT = "application/graphql-response+json,application/json;q=0.9"
_FIRST = 50
_RESERVATION = {
    "amount": "0.25",
    # Longer than any run: nothing falls due.
    "ttlSeconds": 86_400,
    "feature": "assistant",
    "quality": "high",
    "model": "large-2026",
    "endCustomerRef": "customer-7",
    "metadata": {"trace": "4bf92f3577b34da6a3ce929d0e0e4736", "attempt": 1},
}
_KEY = "benchmark-key-to-be-replaced"


@dataclass(frozen=True)
class Row:
    """One row: its variants, each by name, against the control."""

    variants: dict[str, Target]
    control: Target


def document(name: str) -> str:
    """Return the text of a document of the contract."""
    return (CONTRACT / "operations" / f"{name}.graphql").read_text("utf-8")


def trusted(name: str, variables: dict[str, Any]) -> bytes:
    """Return the body of a request that names its document."""
    return orjson.dumps({"documentId": digest_of(document(name)), "variables": variables})


def free(name: str, variables: dict[str, Any]) -> bytes:
    """Return the body of a request that brings its document, one the server does not trust."""
    text = document(name) + "# The same, but for its digest.\n"
    return orjson.dumps({"query": text, "variables": variables})


@dataclass(frozen=True)
class Ends:
    """The API and its control."""

    served: Installation
    accounts: Accounts
    plain_port: int
    plain_pid: int

    def api(self, body: bytes, expected: bytes) -> Target:
        """Return the API, asked the same again and again."""
        request = post(PATH, self.served.key, body, _ACCEPT)
        return Target(self.served.port, self.served.processes["serve"], lambda _: request, expected)

    def plain(self, path: str, expected: bytes) -> Target:
        """Return the control, asked the same again and again."""
        request = get(path, self.served.key)
        return Target(self.plain_port, self.plain_pid, lambda _: request, expected)

    def balance(self) -> Row:
        """Return the row of `creditBalance`."""
        variables = {"organizationId": str(self.accounts.ledger)}
        expected = b'{"data":{"creditBalance":{"organizationId":"'
        return Row(
            {
                "trusted": self.api(trusted("creditBalance", variables), expected),
                "free text": self.api(free("creditBalance", variables), expected),
            },
            self.plain(
                f"/organizations/{self.accounts.ledger}/credit-balance", b'{"organizationId":"'
            ),
        )

    def transactions(self) -> Row:
        """Return the row of `creditTransactions(first: 50)`."""
        variables = {"organizationId": str(self.accounts.ledger), "first": _FIRST}
        expected = b'{"data":{"creditTransactions":{"nodes":[{"id":"'
        return Row(
            {
                "trusted": self.api(trusted("creditTransactions", variables), expected),
                "free text": self.api(free("creditTransactions", variables), expected),
            },
            self.plain(
                f"/organizations/{self.accounts.ledger}/credit-transactions?first={_FIRST}",
                b'{"nodes":[{"id":"',
            ),
        )

    def reserve(self, run: str) -> Row:
        """Return the row of `reserveCredits`; no key of a run is one of another."""
        spenders = self.accounts.spenders
        key = self.served.key
        api = [
            post(PATH, key, trusted("reserveCredits", _reservation(each)), _ACCEPT)
            for each in spenders
        ]
        plain = [
            post(f"/organizations/{each}/reservations", key, _plain_reservation())
            for each in spenders
        ]

        def make(requests: list[bytes], kind: str, number: int) -> bytes:
            # As long as what it replaces: the length of the body is told before it.
            unique = f"{run}-{kind}-{number}".ljust(len(_KEY), "-").encode()
            return requests[number % len(requests)].replace(_KEY.encode(), unique)

        return Row(
            {
                "trusted": Target(
                    self.served.port,
                    self.served.processes["serve"],
                    lambda number: make(api, "a", number),
                    b'{"data":{"reserveCredits":{"__typename":"ReserveCreditsSuccess"',
                )
            },
            Target(
                self.plain_port,
                self.plain_pid,
                lambda number: make(plain, "b", number),
                b'{"reservation":{"id":"',
            ),
        )


def _reservation(account: UUID) -> dict[str, Any]:
    return {
        "input": {"organizationId": str(account), "idempotencyKey": _KEY, **_RESERVATION},
    }


def _plain_reservation() -> bytes:
    return orjson.dumps({"idempotencyKey": _KEY, **_RESERVATION})


async def check(ends: Ends) -> None:
    """Raise unless each variant and its control tell the same facts."""
    headers = {"authorization": f"Bearer {ends.served.key}"}
    account = ends.accounts.ledger
    variables = {"organizationId": str(account)}
    page = {**variables, "first": _FIRST}
    plain_url = f"http://127.0.0.1:{ends.plain_port}/organizations/{account}"
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:

        async def api(body: bytes) -> Any:
            response = await client.post(
                f"{ends.served.url}{PATH}",
                content=body,
                headers={"content-type": "application/json", "accept": _ACCEPT},
            )
            return response.raise_for_status().json()["data"]

        async def plain(path: str, body: bytes | None = None) -> Any:
            if body is None:
                response = await client.get(plain_url + path)
            else:
                response = await client.post(
                    plain_url + path, content=body, headers={"content-type": "application/json"}
                )
            return response.raise_for_status().json()

        balance = await plain("/credit-balance")
        rows = await plain(f"/credit-transactions?first={_FIRST}")
        if len(rows["nodes"]) != _FIRST or not rows["pageInfo"]["hasNextPage"]:
            raise RuntimeError("the ledger is shorter than a page")
        for body in (trusted, free):
            _same((await api(body("creditBalance", variables)))["creditBalance"], balance)
            _same((await api(body("creditTransactions", page)))["creditTransactions"], rows)
        # A reservation tells the same twice: once it is made, both answer it as a replay.
        reservation = trusted("reserveCredits", _reservation(account))
        await api(reservation)
        answer = (await api(reservation))["reserveCredits"]
        replayed = await plain("/reservations", _plain_reservation())
        _same(answer, {"__typename": "ReserveCreditsSuccess", **replayed})


def _same(answer: Any, control: Any) -> None:
    if answer != control:
        raise RuntimeError(f"not the same facts:\n{answer}\n{control}")
