"""The bar of a running phase, on a terminal."""

from __future__ import annotations

from typing import Any, TextIO


class Bar:
    """One phase at a time; lines printed through it appear above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.fields[stage]:<9} [{task.description}]", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            _rate_column(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._bar.start()
        self._task: Any = None

    def start(self, stage: str, phase: str, total: int, unit: str, done: int = 0) -> None:
        """Begins a phase of `total` units."""
        self.end_phase()
        self._task = self._bar.add_task(phase, total=total, completed=done, unit=unit, stage=stage)

    def update(self, done: int) -> None:
        """Sets how many units are done."""
        if self._task is not None:
            self._bar.update(self._task, completed=done)

    def end_phase(self) -> None:
        """Takes the bar away."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def print(self, line: str) -> None:
        """One line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        """Ends it."""
        self._bar.stop()


def bar_for(stream: TextIO) -> Bar | None:
    """A bar if the stream is a terminal."""
    return Bar(stream) if stream.isatty() else None


def rate_text(rate: float) -> str:
    """Three significant digits below a hundred, whole numbers above."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _rate_column() -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{rate_text(task.speed or 0.0)} {task.fields['unit']}/s")

    return Rate()
