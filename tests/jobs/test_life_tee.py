"""What a driver says, in its log and where it went before; and the log, read as it grows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jobs.life.driver_setup import captured_output
from jobs.life.follow import LogTail


def test_all_that_is_written_to_either_descriptor_is_in_the_log_with_its_time(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    program = (
        "import os, subprocess, sys\nfrom pathlib import Path\nfrom jobs.life.driver_setup import captured_output\n"
        f"with captured_output(Path({str(log)!r})):\n"
        "    print('out'); os.write(2, b'from C\\n'); subprocess.run(['echo', 'a child'])\n"
        "print('after')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = log.read_text().splitlines()
    assert sorted(line[9:] for line in lines) == ["a child", "from C", "out"]
    assert all(line[2] == line[5] == ":" for line in lines)
    assert sorted(ran.stderr.splitlines()) == ["a child", "from C", "out"]
    assert ran.stdout == "after\n"


def test_a_log_that_cannot_be_written_ends_no_work(tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    with captured_output(tmp_path / "no" / "such" / "folder.log"):
        os.write(1, b"still here\n")
    assert "still here" in capfd.readouterr().err


@given(pieces=st.lists(st.text(st.sampled_from("ab\n"), max_size=6), max_size=8))
def test_a_tail_gives_whole_lines_each_once(pieces: list[str], tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    path: Path = tmp_path_factory.mktemp("tail") / "log"
    tail, seen = LogTail(path), []
    for piece in pieces:
        with path.open("a") as file:
            file.write(piece)
        seen += tail.lines()
    text = "".join(pieces)
    assert [line.decode() for line in seen] == text[: text.rfind("\n") + 1].splitlines()
