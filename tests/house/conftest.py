"""What tests of pages begin with."""

from pathlib import Path

import pytest

from tests.support.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(tmp_path, monkeypatch)
