"""What is said while a job runs."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path

import pytest

from cluster.catalog import CatalogError
from jobs.life import progress as module
from jobs.life.progress import Figures, Heartbeat, Progress, clock
from jobs.life.progress_bar import bar_for


class Clock:
    """A clock that moves when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def test_lines_hold_done_total_rate_and_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_, out = Clock(monkeypatch), io.StringIO()
    progress = Progress("train", out)
    progress.start("train", 3000, "rows", 0)
    for _ in range(8):
        clock_.now += 1
        progress.update(int((clock_.now - 1000) * 150))
        progress.tick()
    assert out.getvalue().splitlines() == [
        "train     [train] 0/3,000 rows",
        "train     [train] 750/3,000 rows  25%  150 rows/s  ETA 00:15",
    ]
    progress.update(3000)
    assert progress.figures().percent() == 99  # until the artifact has appeared
    clock_.now += 1
    progress.finish("100%  saes/0123456789abcdef")
    assert out.getvalue().splitlines()[2:] == [
        "train     [train] 3,000/3,000 rows in 00:09",
        "train     100%  saes/0123456789abcdef  in 00:09",
    ]


def test_curves_are_written_beside_the_log_and_replaced_as_a_whole(tmp_path: Path) -> None:
    progress = Progress("train", io.StringIO(), curves=tmp_path / "train-1.curves.json")
    progress.curves({"saes/a": '{"steps": 1}', "saes/b": '{"steps": 1}'})
    progress.curves({"saes/b": '{"steps": 2}'})
    assert json.loads((tmp_path / "train-1.curves.json").read_text()) == {
        "saes/a": {"steps": 1},
        "saes/b": {"steps": 2},
    }
    assert len(list(tmp_path.iterdir())) == 1


def test_lines_go_to_the_log_file_or_to_the_stream_if_it_cannot_be_written(tmp_path: Path) -> None:
    out = io.StringIO()
    progress = Progress("train", out, tmp_path / "log")
    progress.start("train", 10, "rows")
    progress.update(7)
    (tmp_path / "log").rename(tmp_path / "kept")
    (tmp_path / "log").mkdir()
    progress.finish("100%  saes/0123456789abcdef", complete=True)
    assert re.fullmatch(r"\d\d:\d\d:\d\d train     \[train\] 0/10 rows\n", (tmp_path / "kept").read_text())
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("train     no more log file: ")
    assert lines[1].startswith("train     [train] 10/10 rows in ")  # all of them, as its artifacts have appeared
    assert lines[2].startswith("train     100%  saes/")


def test_progress_never_moves_back_and_resumes_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_, out = Clock(monkeypatch), io.StringIO()
    progress = Progress("harvest", out)
    progress.start("harvest", 100, "rows", 40)
    clock_.now += 10
    progress.update(60)
    progress.update(50)
    figures = progress.figures()
    assert (figures.done, figures.rate, figures.eta()) == (60, 2.0, "00:20")  # what was done before is no speed
    assert "40/100 rows  (going on from before)" in out.getvalue()


def test_a_rate_is_of_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ = Clock(monkeypatch)
    progress = Progress("train", io.StringIO())
    progress.start("train", 10_000, "rows")
    for done in [*range(0, 100), *range(100, 1100, 10)]:  # a slow start, then ten times as fast
        clock_.now += 1
        progress.update(done)
    assert progress.figures().rate == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (12.9, "00:12"), (754, "12:34"), (4000, "1:06:40")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_unknown_rates_and_totals_do_not_divide_by_zero() -> None:
    assert str(Figures("p", 0, 0, "rows", 0.0)) == "[p] 0/0 rows  0%  0 rows/s  ETA --:--"


def test_a_terminal_gets_a_bar_that_ends_at_all_of_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    bar = bar_for(out)
    assert bar is not None
    bar.start("train", "train", 10, "rows")
    bar.update(9)
    bar.print("a word")
    bar.update(10)
    bar.close()
    text = out.getvalue()
    assert "\x1b[" in text
    assert "a word" in text
    assert "10/10 rows" in text


def test_the_beat_writes_rows_and_tells_each_request_once() -> None:
    progress, asked, written = Progress("train", io.StringIO()), [], []
    progress.start("train", 10, "rows")
    enough = threading.Event()

    def write(figures: Figures) -> None:
        written.append(figures.done)
        if len(written) >= 3:
            enough.set()

    with Heartbeat(progress, write, lambda: "stop" if written else None, asked.append, seconds=0.01):
        progress.update(4)
        assert enough.wait(10)
    assert set(written) == {4}
    assert asked == ["stop"]


def test_a_catalog_that_fails_for_a_while_does_not_end_the_beat(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("train")
    progress.start("train", 10, "rows", 0)
    asked, calls, enough = list[str](), list[int](), threading.Event()

    def write(now: Figures) -> None:
        calls.append(now.done)
        if len(calls) < 4:
            raise CatalogError("database is locked")

    def hear(how: str) -> None:
        asked.append(how)
        enough.set()

    with Heartbeat(progress, write, lambda: "stop", hear, seconds=0.01):
        assert enough.wait(10)
    assert asked == ["stop"]
    assert len(calls) >= 4
    assert (
        capsys.readouterr().err.count("cannot write progress into the catalog, trying again: database is locked") == 1
    )
