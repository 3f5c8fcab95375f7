"""The pages about the hub say what its code does."""

from __future__ import annotations

import pytest
from tests.pages import PAGES, REFERENCE, written


@pytest.mark.parametrize(
    ("page", "name"), [(page, name) for page, tables in PAGES.items() for name in tables]
)
def test_a_table_is_as_the_code_has_it(page: str, name: str) -> None:
    text = (REFERENCE / page).read_text()

    assert text == written(text, name, PAGES[page][name]()), "python -m tests.pages writes it anew"
