"""What the documents tell to follow, to type or to look at exists."""

import ast
import hashlib
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import app.core.telemetry  # noqa: F401  # registers the metrics
from app.cli import main
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives"]
PAGE_LINES = 50

# Read by what is not the settings module: the launcher, the tests, Compose, one command.
OTHER_VARIABLES = {
    "EXCHEQUER_DATABASE_PASSWORD",
    "EXCHEQUER_HOME",
    "EXCHEQUER_KEY",
    "EXCHEQUER_POSTGRES_BIN",
    "EXCHEQUER_REDIS_PASSWORD",
}


@cache
def documents() -> tuple[Path, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return tuple(ROOT / name for name in listed if (ROOT / name).exists())


@cache
def everything() -> str:
    return "".join(path.read_text("utf-8") for path in documents())


def anchors(path: Path) -> set[str]:
    """Return the anchors that a forge makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_links_lead_somewhere() -> None:
    dead = []
    for path in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
            if re.match(r"https?://", target):
                continue
            file, _, anchor = target.partition("#")
            place = (path.parent / file).resolve() if file else path
            if not place.exists() or (anchor and anchor not in anchors(place)):
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert dead == []


def test_commands_exist() -> None:
    told = set(re.findall(r"`(?:\w+=\S+ )?exchequer ([a-z-]+)", everything()))
    told |= set(re.findall(r"^    exchequer ([a-z-]+)", everything(), re.MULTILINE))
    assert told <= main.commands.keys()
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert {name for name in main.commands if f"`exchequer {name}`" not in operations} == set()


def test_make_targets_exist() -> None:
    targets = set(
        re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    told = set(re.findall(r"`make ([a-z]+)", everything()))
    told |= set(re.findall(r"^    make ([a-z]+)", everything(), re.MULTILINE))
    assert {"dev", "test", "check"} <= told <= targets


def test_variables_are_settings() -> None:
    settings = {
        str(field.validation_alias or f"EXCHEQUER_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    told = set(re.findall(r"\bEXCHEQUER_[A-Z_]+\b", everything()))
    assert told <= settings | OTHER_VARIABLES


def test_operations_name_every_metric_and_its_labels() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    told = {
        name: set(filter(None, labels.split(", ")))
        for name, labels in re.findall(
            r"^\| `(exchequer_\w+)` \| ([^|]*?) ?\| ", operations, re.MULTILINE
        )
    }
    real = {
        (family.name + "_total" if family.type == "counter" else family.name): set(
            getattr(collector, "_labelnames", ())
        )
        for collector in set(REGISTRY._collector_to_names)
        for family in getattr(collector, "describe", list)()
        if family.name.startswith("exchequer_")
    }
    assert told == real


def test_tests_that_are_named_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        functions = {node.name for node in tree.body if hasattr(node, "name")}
        assert name in functions, f"{file}::{name}"


def test_files_that_are_named_exist() -> None:
    named = set(
        re.findall(r"`((?:app|db|docs|frontend-contract|schema|tests)/[\w./-]+)`", everything())
    )
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("path", sorted(DECISIONS.glob("0*.md")), ids=lambda path: path.stem[:4])
def test_a_decision_has_its_form(path: Path) -> None:
    text = path.read_text("utf-8")
    title = re.match(r"# (\d+)\. (.+)\n\n2026-\d\d-\d\d\n\n## ", text)
    assert title
    assert int(title[1]) == int(path.stem[:4])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(text.splitlines()) <= PAGE_LINES
    assert f"({path.name}) | {title[2]} |\n" in (DECISIONS / "README.md").read_text("utf-8")


def test_decisions_are_numbered_without_a_hole() -> None:
    numbers = sorted(int(path.stem[:4]) for path in DECISIONS.glob("0*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    form = re.sub(
        r"Copyright 2026 The Exchequer authors",
        "Copyright [yyyy] [name of copyright owner]",
        text,
        count=1,
    )
    assert form != text
    # Of the text as the foundation publishes it.
    assert (
        hashlib.sha256(form.encode()).hexdigest()
        == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    )


def test_no_document_or_container_file_holds_an_address_of_a_registry() -> None:
    # Written in two parts, so that this file holds none itself.
    registries = re.compile(
        r"pypi\.(?:org)|pythonhosted|registry\.npm|npmmirror|docker\.(?:io)|ghcr\."
    )
    files = [*documents(), *(ROOT / name for name in ("Dockerfile", "docker-compose.yml"))]
    assert [path.name for path in files if registries.search(path.read_text("utf-8"))] == []
