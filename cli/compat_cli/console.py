"""What every command shares: JSON on stdout, everything else on stderr, progress that survives a pipe.

Standard output carries the answer and nothing else, so that ``--json`` can be piped into a parser; progress,
notes and warnings go to standard error. Text is never wrapped or styled when it is not read on a terminal.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from compat_cli.held_output import native_code_held
from compat_sdk.progress import Progress
from compat_sdk.shown import escaped, escaped_json, without_keys

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


_LEFT = "seconds left"
"""Figure of a stage that is shown as a time."""
_quiet = False
_OUR_PACKAGES = ("compat_sdk", "compat_train", "compat_export", "compat_cli")


def be_quiet() -> None:
    """Print nothing from now on but notes: no answer, no progress, no warnings of ours."""
    global _quiet
    _quiet = True


def print_json(payload: object) -> None:
    """Print one JSON document on stdout; figures that JSON cannot hold are an error, not ``NaN``."""
    text = escaped_json(json.dumps(payload, indent=2, allow_nan=False, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that cannot show a letter is told its number
        text = json.dumps(payload, indent=2, allow_nan=False)
    sys.stdout.write(without_keys(text) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Print lines on stdout, unwrapped and without markup; control codes in them are escaped."""
    _write(sys.stdout, escaped(text, keep="\n"))
    sys.stdout.flush()


def note(text: str) -> None:
    """Print one line for the reader on stderr; control codes and line breaks in it are escaped."""
    _write(sys.stderr, escaped(text))
    sys.stderr.flush()


def _write(stream: TextIO, text: str) -> None:
    """Write a line, without the keys of addresses; what the stream's encoding lacks is written as its number."""
    encoding = stream.encoding or "utf-8"
    stream.write(without_keys(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")


def report(payload: object, text: str, *, as_json: bool) -> None:
    """Print a command's answer: ``payload`` as JSON when asked for, else ``text``."""
    if _quiet:
        return
    if as_json:
        print_json(payload)
    else:
        print_text(text)


def lines(texts: Iterable[str]) -> str:
    """Join lines; a line break or control code inside of one is escaped: no name makes a line of its own."""
    return "\n".join(map(escaped, texts))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces: the first to the left, the rest to the right. Never wrapped.

    Args:
        header: Column titles.
        rows: Cells, as many in each row as there are titles.

    Returns:
        Lines joined by newlines, without trailing spaces.
    """
    header, rows = list(map(escaped, header)), [list(map(escaped, row)) for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def figure(value: float) -> str:
    """A figure rounded to what people read: ``11.1``, ``0.231``, ``7,597``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def size_text(count: int) -> str:
    """A byte count in words: ``640 B``, ``12.3 KiB``, ``4.0 MiB``."""
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.1f} KiB"
    return f"{count / 1024**2:.1f} MiB"


@contextlib.contextmanager
def working() -> Iterator[Progress]:
    """A progress callback for the library call inside, and a stdout that only the answer will use.

    A stage that is a sentence, with its full stop, is shown without a count. On a terminal each stage is a bar;
    elsewhere a line is printed when a stage ends and, during a long one, every ten seconds. What a library prints on
    stdout meanwhile goes to stderr.

    What native code writes on stderr by itself, such as an engine about its threads, is kept back, and shown where the
    work ends by an error that is not one of ours.

    Yields:
        The callback ``(stage, done, total, values)``.
    """
    with native_code_held(), contextlib.redirect_stdout(sys.stderr):
        if _quiet:
            yield lambda stage, done, total, values: None
        elif sys.stderr.isatty():
            bars = _Bars()
            try:
                yield bars
            finally:
                bars.close()
        else:
            yield _Lines(sys.stderr)


class _Bars:
    """One rich bar per stage, on stderr."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if self._rich is None:
            self._rich = _start_rich()
        if stage not in self._tasks:
            self._tasks[stage] = self._rich.add_task(escaped(stage), total=total or None, values="")
        task = self._tasks[stage]
        if done < self._done.get(stage, 0):  # the stage has begun anew, for another model say
            self._rich.reset(task)
        self._done[stage] = done
        self._rich.update(task, completed=done, total=total or None, values=_values_text(values))

    def close(self) -> None:
        """Leave the bars as they stand and give the terminal back."""
        if self._rich is not None:
            self._rich.stop()


def _start_rich() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bars = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", markup=False),
        console=Console(stderr=True),
        redirect_stdout=False,
    )
    bars.start()
    return bars


class _Lines:
    """Plain lines for logs: at the end of a stage, and every ten seconds of a long one."""

    def __init__(self, stream: TextIO, seconds: float = 10.0) -> None:
        self._stream = stream
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._ended: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        ended = 0 < total <= done
        if not ended and stage in self._ended:  # the stage has begun anew, for another model say
            self._ended.remove(stage)
            self._last[stage] = now
        last = self._last.setdefault(stage, now)
        if (ended and stage not in self._ended) or (not ended and now - last >= self._seconds):
            self._last[stage] = now
            if ended:
                self._ended.add(stage)
            told = "" if stage.endswith(".") else f": {done}/{total or '?'} {_values_text(values)}".rstrip()
            _write(self._stream, escaped(stage + told))
            self._stream.flush()


def _values_text(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{_time_text(value)} left" if name == _LEFT else f"{name} {value:.4g}" for name, value in values.items()
    )


def _time_text(seconds: float) -> str:
    """A time for people: ``0:40``, ``12:05``, ``3:20:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_warnings() -> None:
    """Print our libraries' warnings as ``warning: ...`` lines on stderr, others as Python does."""
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        ours = category.__module__.split(".")[0] in _OUR_PACKAGES or any(
            package in Path(filename).parts for package in _OUR_PACKAGES
        )
        if ours and file is None and _quiet:
            return
        if ours and file is None:
            note(f"warning: {message}")
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def fraction(value: Any) -> str:
    """A fraction as a percentage with one decimal: ``0.9312`` gives ``93.1``."""
    return f"{100 * float(value):.1f}"
