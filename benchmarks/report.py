"""Write the tables of published results into the pages that show them.

A page holds blocks between `<!-- results: NAME -->` and `<!-- end of results -->`; what stands
there is made from `results/`, and nothing else is. `NAME` is a benchmark, or `proofs`.

    python -m benchmarks.report
"""

import argparse
import json
import re
from typing import Any

from benchmarks.harness import RESULTS

ROOT = RESULTS.parents[1]
PAGES = (ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs" / "how-we-know.md")
# In the order in which they are told.
PROOFS = ("model", "interleavings", "overspend", "crashes", "tampering")
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def write(*, check: bool = False) -> list[str]:
    """Write all blocks; return the pages that were not as they are to be."""
    stale = []
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = _BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2])}\n\n{found[3]}", old)
        if new != old:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(new, encoding="utf-8")
    return stale


def block(name: str) -> str:
    """Return what a page shows of a result."""
    if name == "proofs":
        return "\n".join(
            ["| proof | it would have shown | N | seed, seconds |", "|---|---|---|---|"]
            + [
                row
                for proof in PROOFS
                if (RESULTS / f"proof_{proof}.json").exists()
                for row in _rows(proof)
            ]
        )
    raw: dict[str, Any] = _raw(name)
    machine = raw["machine"]
    ran = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}"
    return f"{raw['table']}\n\nOn {ran}; [raw results](results/{name}.json)."


def _rows(proof: str) -> list[str]:
    raw = _raw(f"proof_{proof}")
    ran = f"{raw['seed']}, {raw['seconds']:,.0f}"
    return [
        f"| {f'`make prove W={proof}`' if number == 0 else ''} | {zero['what']}"
        f" | {zero['found']} of {zero['of']:,} {zero['unit']} | {ran if number == 0 else ''} |"
        for number, zero in enumerate(raw["zeros"])
    ]


def _raw(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def main() -> None:
    """Write, or say what is stale."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="End with 1 where a page is stale.")
    check = parser.parse_args().check
    stale = write(check=check)
    if check and stale:
        raise SystemExit(f"not as results/ has it: {', '.join(stale)}")


if __name__ == "__main__":
    main()
