"""A sample of the counted trials of `make trials`: damaged files, and documents to rows and back under any options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data_trials.rows import check_rows, documents, whole_options
from tests.sae.test_text_tokenizer_laws import BOS, tokenizer


def test_damaged_files_end_with_an_error_or_lose_nothing() -> None:
    """117 files in a process of their own, which a damaged file must not end."""
    command = [sys.executable, "-m", "tests.data_trials", "--round", "0", "--seed", "1"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 1), ran.stdout + ran.stderr[-500:]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BOS), documents, whole_options(), st.integers(8, 24), st.integers(1, 3))
def test_rows_hold_the_tokens_of_their_documents(
    tmp_path_factory: pytest.TempPathFactory, bos: str, given: list[tuple[str, str]], options: dict[str, object],
    length: int, chunks: int,
) -> None:  # fmt: skip
    folder: Path = tmp_path_factory.mktemp("rows")
    check_rows(folder, tokenizer("byte_level", bos), given, options, length, chunks, "exactly")
