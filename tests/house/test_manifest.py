"""The manifest of trusted documents: what front ends send is what servers know."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from app.export import export
from app.main import make_engine
from app.settings import Settings

CONTRACT = Path(__file__).parents[2] / "frontend-contract"
OPERATIONS = CONTRACT / "operations"


def manifest() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((CONTRACT / "documents.json").read_text("utf-8"))
    return whole


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """Return a copy of the contract that is fresh."""
    folder = tmp_path / "frontend-contract"
    shutil.copytree(OPERATIONS, folder / "operations")
    export(folder)
    assert export(folder, check=True) == []
    return folder


def test_it_has_the_form_that_apollos_tools_read() -> None:
    whole = manifest()
    assert list(whole) == ["format", "version", "operations"]
    assert (whole["format"], whole["version"]) == ("apollo-persisted-query-manifest", 1)
    for entry in whole["operations"]:
        assert list(entry) == ["id", "name", "type", "body"]


def test_it_holds_each_document_of_the_contract_under_the_digest_of_its_text() -> None:
    told = {entry["name"]: entry for entry in manifest()["operations"]}
    texts = {path.stem: path.read_text("utf-8") for path in OPERATIONS.glob("*.graphql")}
    assert sorted(told) == sorted(name[0].upper() + name[1:] for name in texts)
    for name, text in texts.items():
        entry = told[name[0].upper() + name[1:]]
        operation = parse(text).definitions[0]
        assert isinstance(operation, OperationDefinitionNode)
        assert entry["body"] == text
        assert entry["id"] == sha256(text.encode()).hexdigest()
        assert entry["type"] == operation.operation.value


def test_it_is_what_a_server_trusts_and_nothing_else() -> None:
    known = make_engine(Settings(_env_file=None)).documents
    told = {entry["id"]: (entry["name"], entry["type"]) for entry in manifest()["operations"]}
    trusted = {digest: known.trusted(digest) for digest in known._trusted}
    assert {
        digest: [(operation.name, operation.type.value) for operation in document.operations]
        for digest, document in trusted.items()
        if document is not None
    } == {digest: [operation] for digest, operation in told.items()}
    assert [document.errors for document in trusted.values() if document] == [()] * len(told)


def test_a_changed_document_makes_it_stale(contract: Path) -> None:
    changed = contract / "operations" / "projects.graphql"
    changed.write_text(changed.read_text("utf-8") + "# changed\n", "utf-8")
    assert export(contract, check=True) == [contract / "documents.json"]
    before = (contract / "documents.json").read_text("utf-8")
    assert export(contract) == [contract / "documents.json"]
    assert before != (contract / "documents.json").read_text("utf-8")
    assert export(contract, check=True) == []


@pytest.mark.parametrize("text", ["{ __typename }", "query A { id } query B { id }"])
def test_what_a_manifest_cannot_name_is_not_left_out_unsaid(text: str, contract: Path) -> None:
    (contract / "operations" / "other.graphql").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"other\.graphql is not one operation with a name"):
        export(contract, check=True)
