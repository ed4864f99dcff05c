"""Write the tables of published results into the pages that show them, and draw their plots.

A page holds blocks between `<!-- results: NAME -->` and `<!-- end of results -->`; what stands
there is made from `results/` and from what a result was measured of, and of nothing else. `NAME`
is a benchmark, or `proofs`.

    python -m benchmarks.report
"""

import argparse
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import figures, minutes, models_table, texts
from benchmarks.harness import RESULTS, keep
from benchmarks.marks import Mark, demand, missed
from benchmarks.plot import over_time, ratios
from benchmarks.work import Work
from tests.proof.mutants import record
from tests.proof.mutants.table import mutants

ROOT = texts.ROOT
PAGES = (ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs" / "how-we-know.md")
COMMAND = "python -m benchmarks.report"
# In the order in which they are told.
PROOFS = (
    "model",
    "history",
    "interleavings",
    "overspend",
    "crashes",
    "cancellation",
    "calls",
    "mutants",
    "tampering",
)
# Results that are of calls of models: whatever decides of those may change them.
OF_CALLS = frozenset({"models", "calls"})
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
_START = "<!-- results:"
# A row is to be read, not searched.
_NAMED = 6


def _ratios(raw: Mapping[str, Any]) -> str:
    marks = [figures.Figure(**each) for each in raw["figures"]]
    return figures.table(marks, figures.read(raw["rounds"]))


def _audits(raw: Mapping[str, Any]) -> str:
    rounds = figures.read(raw["rounds"])
    costs = {"full, the first": [Work(**raw["first"])]}
    for name in rounds[0]:
        costs[name] = [work for taken in rounds if isinstance(work := taken[name], Work)]
    head = (
        "| seconds for a million rows of the ledger | until told | Postgres' processor"
        " | the auditor's processor | rounds |"
    )
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for name, works in costs.items():
        # A microsecond of a row is a second of a million.
        cells = [
            figures.shown([1e6 / work.rate for work in works]),
            figures.shown([work.postgres_us for work in works]),
            figures.shown([work.client_us for work in works]),
            f"{len(works)}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([_ratios(raw), "", *lines])


def _plot_of_ratios(raw: Mapping[str, Any]) -> str:
    marks = [figures.Figure(**each) for each in raw["figures"]]
    title = "Reserves and settles, against bare updates"
    return ratios(marks, figures.read(raw["rounds"]), title)


def _plot_of_minutes(raw: Mapping[str, Any]) -> str:
    taken = minutes.read(raw["minutes"])
    rates = [each.rate for minute in taken for each in minute.slices]
    title = "One hot account for ten minutes"
    return over_time(rates, 60 * len(taken) / len(rates), title, "reserves and settles a second")


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "credits": _ratios,
    "large": _ratios,
    "ten_minutes": lambda raw: minutes.table(minutes.read(raw["minutes"])),
    "audit": _audits,
    "models": models_table.table,
}
PLOTS = {"credits": _plot_of_ratios, "ten_minutes": _plot_of_minutes}


def marks(name: str, raw: Mapping[str, Any]) -> list[Mark]:
    """Return what came of a benchmark beside what must."""
    if name == "models":
        return models_table.marks(raw)
    if name == "ten_minutes":
        return minutes.marks(minutes.read(raw["minutes"]))
    return figures.marks(
        [figures.Figure(**each) for each in raw["figures"]], figures.read(raw["rounds"])
    )


def reasons() -> dict[str, dict[str, str]]:
    """Return why what was published is not where it must be, by benchmark and name.

    A figure that is missed is published too, with what a profile showed; one that is missed
    and has no reason here stops the build.
    """
    path = RESULTS / "not_reached.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def unexplained() -> list[str]:
    """Return what is published and missed without a reason, and reasons for what is not."""
    wrong, given = [], reasons()
    for name in TABLES:
        raw = _raw(name)
        if raw is None:
            wrong.append(f"{name}: not measured")
            continue
        names, told = set(missed(marks(name, raw))), given.get(name, {})
        # A blank is none.
        why = {each for each, reason in told.items() if reason.strip()}
        wrong += [f"{name}: {each} is not reached" for each in sorted(names - why)]
        wrong += [f"{name}: {each} has a reason and needs none" for each in sorted({*told} - names)]
    return wrong + [f"{name}: there is none" for name in sorted({*given} - {*TABLES})]


def publish(name: str, path: Path, raw: Mapping[str, Any]) -> None:
    """Keep a result and write the pages; end with 1 if anything is not where it must be."""
    keep(path, dict(raw))
    write()
    demand(marks(name, raw))


def write(*, check: bool = False) -> list[str]:
    """Write all blocks and plots; return what was not as it is to be."""
    stale = []
    for path, new in _expected().items():
        if (path.read_text(encoding="utf-8") if path.exists() else None) == new:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if check:
            continue
        if new is None:
            path.unlink()
        else:
            path.write_text(new, encoding="utf-8")
    return stale


def _expected() -> dict[Path, str | None]:
    """Return what is to stand in each page and plot, and nothing for a plot of nothing."""
    files: dict[Path, str | None] = {page: _page(page) for page in PAGES}
    files |= dict.fromkeys(sorted(RESULTS.glob("*.svg")))
    for name, plot in PLOTS.items():
        if (raw := _raw(name)) is not None:
            files[RESULTS / f"{name}.svg"] = plot(raw)
    return files


def _page(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if len(_BLOCK.findall(text)) != text.count(_START):
        raise ValueError(f"{page.relative_to(ROOT)}: a block has no name, or no end")
    return _BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2])}\n\n{found[3]}", text)


def blocks(page: Path) -> set[str]:
    """Return the names of the blocks of a page."""
    return {name for _, name, _ in _BLOCK.findall(page.read_text(encoding="utf-8"))}


def block(name: str) -> str:
    """Return what a page shows of a result."""
    if name == "proofs":
        head = "| proof | it would have shown | N | seed, seconds | when, and of what |"
        rows = [row for proof in PROOFS for row in _rows(proof)]
        return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])
    if name not in TABLES:
        raise ValueError(f"there is no table of {name}, but of proofs, {', '.join(TABLES)}")
    raw = _raw(name)
    if raw is None:
        return f"Not measured yet: `make bench B={name}`."
    machine = raw["machine"]
    ran = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}"
    raw_results = f"[raw results](results/{name}.json)"
    when = _when(name, machine)
    told = f"On {ran}, {_beside(machine)}. Measured {when}; {raw_results}."
    why = [f"Not reached: {each}. {why}" for each, why in reasons().get(name, {}).items()]
    return "\n\n".join([TABLES[name](raw), *why, told])


def _rows(proof: str) -> list[str]:
    command = f"`make prove W={proof}`"
    if proof == "mutants":
        return [f"| {command} | {' | '.join(of_mutants())} |"]
    raw = _raw(f"proof_{proof}")
    if raw is None:
        return [f"| {command} | not yet run | | | |"]
    ran = f"{raw['seed']}, {raw['seconds']:,.0f}"
    first = (command, ran, _when(proof, raw["machine"]))
    rows = []
    for number, zero in enumerate(raw["zeros"]):
        shown, ran, when = first if number == 0 else ("", "", "")
        tried = f"{zero['found']} of {zero['of']:,} {zero['unit']}"
        rows.append(f"| {shown} | {zero['what']} | {tried} | {ran} | {when} |")
    return rows


def of_mutants(path: Path = record.RECORD) -> tuple[str, ...]:
    """Return what a record tells of the mutants that stand in the table."""
    table = mutants()
    moved = record.moved(table, path)
    tried = [mutant for mutant in table if mutant.file not in moved]
    survivors = [mutant for mutant in record.untried(table, path) if mutant.file not in moved]
    _, kills = record.read(path)
    slowest = max(kill.seconds for named in kills.values() for kill in named.values())
    functions = len({mutant.file for mutant in tried})
    found = f"{len(survivors)} of {len(tried):,} mutants of {functions} functions"
    return "survivors", found, f"slowest kill {slowest:.1f} s", _of(sorted(moved))


def _when(name: str, machine: Mapping[str, Any]) -> str:
    """Return when and of what a result was measured, as far as it was noted."""
    commit = f"at {machine['commit'][:7]}" if machine["commit"] else "at no commit"
    if "texts" not in machine:
        return f"{commit}; of which functions was not noted"
    if not machine["is_clean"]:
        commit += " with changes that no commit has"
    moved = texts.changed(machine["texts"])
    if name in OF_CALLS:
        moved += texts.changed(machine.get("call_texts", {}), patterns=texts.CALLS)
    return f"{machine['date']} {commit}, {_of(moved)}"


def _beside(machine: Mapping[str, Any]) -> str:
    """Return what else was at work when a measurement began, as far as it was noted."""
    if "busy" not in machine:
        return "what else ran was not noted"
    return f"others at work on {machine['busy']:.0%} of them as it began"


def _of(moved: list[str]) -> str:
    """Return whether all stands as it was measured, or what does not."""
    if not moved:
        return "of the functions as they stand"
    named = [f"`{Path(path).name.removesuffix('.sql')}`" for path in moved]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return f"changed since: {', '.join([*named[:_NAMED], *more])}"


def _raw(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> None:
    """Write, or say what is stale."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="End with 1 where a page is stale.")
    check = parser.parse_args().check
    stale = write(check=check)
    if check and stale:
        raise SystemExit(f"not as results/ has it: {', '.join(stale)}; {COMMAND}")


if __name__ == "__main__":
    main()
