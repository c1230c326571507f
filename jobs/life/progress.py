"""How far a job is: a line now and then in its log, and the figures of its row. Whoever follows it shows a bar."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from cluster.catalog import CatalogError
from jobs.life.progress_bar import rate_text

LINE_SECONDS = 5.0
SAME_SECONDS = 30.0  # between lines that have nothing new to say, in the middle of a long chunk
_RATE_SECONDS = 30.0


class Figures(NamedTuple):
    """One moment of a job. `rate` is in units a second over the last half minute; 0 while unknown.

    `durable`: how many units a next attempt would not do again.
    """

    phase: str
    done: int
    total: int
    unit: str
    rate: float
    durable: int | None = None

    def eta(self) -> str:
        """Time left at this rate."""
        return clock((self.total - self.done) / self.rate) if self.rate > 0 and self.total else "--:--"

    def percent(self) -> int:
        """Never 100: that is shown once the artifact has appeared."""
        return min(99, 100 * self.done // self.total) if self.total else 0

    def __str__(self) -> str:
        return (
            f"[{self.phase}] {self.done:,}/{self.total:,} {self.unit}  {self.percent()}%  "
            f"{rate_text(self.rate)} {self.unit}/s  ETA {self.eta()}"
        )


class Progress:
    """What a stage reports to. Calls are cheap: a thread of the job writes rows and lines at its own pace.

    Lines go to the file `log`, each with its time, or without one to `stream` (standard error). `curves` is the file for curves.
    """

    def __init__(
        self, stage: str, stream: TextIO | None = None, log: Path | None = None, curves: Path | None = None
    ) -> None:
        self._stage, self._stream, self._log = stage, stream or sys.stderr, log
        self._curves_file = curves
        self._lock = threading.Lock()
        self._phase, self._done, self._total, self._unit = "", 0, 0, ""
        self._durable: int | None = None
        self._curves: dict[str, Any] = {}
        self._samples: deque[tuple[float, int]] = deque()
        self._began = self._phase_began = time.monotonic()
        self._line_at, self._line_done = 0.0, -1

    def start(self, phase: str, total: int, unit: str, done: int = 0) -> None:
        """Begins a phase of `total` units, `done` of which an earlier attempt finished."""
        self._end_phase()
        with self._lock:
            self._phase, self._total, self._unit, self._done = phase, total, unit, done
            self._durable = done or None
            self._phase_began = time.monotonic()
            self._line_done = done
            self._samples = deque([(self._phase_began, done)])
        self._write_line(f"[{phase}] {done:,}/{total:,} {unit}" + ("  (going on from before)" if done else ""))

    def update(self, done: int, durable: bool = True) -> None:
        """Sets how many units of the phase are done. A smaller number than before is ignored.

        `durable`: they are finished parts, safe in the store. Not so for steps between checkpoints.
        """
        with self._lock:
            self._done = max(done, self._done)
            if durable:
                self._durable = self._done
            now = time.monotonic()
            self._samples.append((now, self._done))
            while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
                self._samples.popleft()

    def durable(self, done: int) -> None:
        """Says that so many units are safe in the store."""
        with self._lock:
            self._durable = max(done, self._durable or 0)

    def curves(self, by_sae: Mapping[str, str]) -> None:
        """Training curves as JSON, by SAE: their file is replaced. An SAE that is not named keeps its own."""
        file = self._curves_file
        if file is None:
            return
        self._curves |= {sae: json.loads(text) for sae, text in by_sae.items()}
        try:
            file.with_suffix(".part").write_text(json.dumps(self._curves), encoding="utf-8")
            file.with_suffix(".part").replace(file)
        except OSError as error:  # people see older curves; no reason to lose the work
            self.log(f"cannot write the curves so far: {error}")

    def log(self, message: str) -> None:
        """One line that people should see."""
        self._write_line(message)

    def figures(self) -> Figures:
        """Where the job is now."""
        with self._lock:
            (t0, d0), (t1, d1) = (self._samples[0], self._samples[-1]) if self._samples else ((0.0, 0), (0.0, 0))
            rate = (d1 - d0) / (t1 - t0) if t1 > t0 else 0.0
            return Figures(self._phase, self._done, self._total, self._unit, rate, self._durable)

    def tick(self) -> None:
        """Writes a line if the last one is old enough. Called by the job's thread."""
        if not self._phase:
            return
        now = self.figures()
        wait = SAME_SECONDS if now.done == self._line_done else LINE_SECONDS
        if time.monotonic() - self._line_at >= wait:
            self._line_done = now.done
            self._write_line(str(now))

    def finish(self, message: str, complete: bool = False) -> None:
        """The last line. `complete`: all artifacts have appeared, so the phase that ends has done all its units."""
        if complete:
            self._done = max(self._done, self._total)
        self._end_phase()
        self._write_line(f"{message}  in {clock(time.monotonic() - self._began)}")

    def _end_phase(self) -> None:
        if not self._phase:
            return
        took = time.monotonic() - self._phase_began
        self._write_line(f"[{self._phase}] {self._done:,}/{self._total:,} {self._unit} in {clock(took)}")
        self._phase = ""

    def _write_line(self, message: str) -> None:
        line = f"{self._stage:<9} {message}"
        self._line_at = time.monotonic()
        if self._log is not None:
            try:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(f"{time.strftime('%H:%M:%S')} {line}\n")
                return
            except OSError as error:  # no reason to lose the work
                print(f"{self._stage:<9} no more log file: {error}", file=self._stream, flush=True)
                self._log = None
        print(line, file=self._stream, flush=True)


class Heartbeat:
    """The thread of a running job: every second it writes the row, a line if one is due, and reads cancel requests."""

    def __init__(
        self,
        progress: Progress,
        write: Callable[[Figures], object],
        requested: Callable[[], str | None],
        on_request: Callable[[str], None],
        seconds: float = 1.0,
    ) -> None:
        self._progress, self._write, self._requested, self._on_request = progress, write, requested, on_request
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raylens-beat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        obeyed = failed = None
        while not self._over.wait(self._seconds):
            self._progress.tick()
            try:
                self._write(self._progress.figures())
                request = self._requested()
            except (CatalogError, OSError) as error:  # a busy or full disk may recover: the work goes on, and so do we
                if str(error) != failed:
                    failed = str(error)
                    self._progress.log(f"cannot write progress into the catalog, trying again: {failed}")
                continue
            if request is not None and request != obeyed:
                obeyed = request
                self._on_request(request)


def clock(seconds: float) -> str:
    """12 -> `00:12`; 4000 -> `1:06:40`."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60:02}:{rest % 60:02}"
