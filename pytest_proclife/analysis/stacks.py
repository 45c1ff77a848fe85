"""Where each thread of a process stood: the last look, as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_proclife import records
from pytest_proclife.analysis.evidence import Clock
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.log import Look, ProcessFacts
from pytest_proclife.records import Awaited, AwaitedKind, NoStackKind, StackSource
from pytest_proclife.supervisor import protocol

_POPEN_FORK = tuple(f"/{p}/popen_fork.py" for p in ("multiprocessing", "multiprocess", "billiard"))
_RECORDER = str(Path(__file__).parents[1] / "inside")  # its frames are none of the program's


class Opened:
    """Which processes had what open at their last look, by its name."""

    def __init__(self, processes: Sequence[ProcessFacts], family: Family) -> None:
        self._found: dict[str, list[records.OpenIn]] = {}
        for id, number in enumerate(family.order):
            look = processes[number].look
            ways: dict[str, list[str]] = {}
            for name, _, way in () if look is None else look.opened:
                ways.setdefault(name, []).append(way)
            for name, found in ways.items():
                place = records.OpenIn(process=id, ways=tuple(found))
                self._found.setdefault(name, []).append(place)

    def of(self, name: str) -> tuple[records.OpenIn, ...]:
        return tuple(self._found.get(name, ()))


def read(process: ProcessFacts, opened: Opened, clock: Clock) -> tuple[records.Stack, ...]:
    """The stacks of a process; none if nobody has looked."""
    look = process.look
    if look is None:
        return ()
    source, missing, details, frames_of = _frames(look, clock)
    names = {tid: name for tid, name, _ in look.stack[3]} if look.stack else {}
    return tuple(
        records.Stack(
            at=clock.seconds(look.at),
            thread=tid,
            name=clock.text(names.get(tid) or name),
            state=state,
            shown=call != protocol.NOT_SHOWN,
            call="" if call == protocol.NOT_SHOWN else clock.text(call),
            wchan=clock.text(wchan),
            awaited=tuple(_awaited(item, opened) for item in awaited),
            source=source,
            frames=frames_of.get(tid, ()),
            missing=missing,
            details=details,
        )
        for tid, name, state, call, wchan, awaited in look.threads
    )


def _frames(
    look: Look, clock: Clock
) -> tuple[StackSource, NoStackKind | None, str, dict[int, tuple[records.Frame, ...]]]:
    """What has read the frames, why there are none, and those of each thread."""
    if not look.python:
        return StackSource.KERNEL, NoStackKind.NOT_PYTHON, "", {}
    if look.stack is None:  # the caller was too slow, or gone
        return StackSource.KERNEL, NoStackKind.FAILED, "", {}
    source, missing, details, threads = look.stack
    if missing:
        return StackSource(source), NoStackKind(missing), clock.cut(details), {}
    frames_of = {tid: _program(own_frames(frames), clock) for tid, _, frames in threads}
    return StackSource(source), None, "", frames_of


def own_frames(frames: Sequence[tuple[str, int, str]]) -> Sequence[tuple[str, int, str]]:
    """Without the lines of its parent, of which a child of multiprocessing has copies if forked.

    It begins in `Popen._launch` of popen_fork.py, with one of two functions.
    """
    for number, (file, _, function) in enumerate(frames):
        inner = frames[number - 1][2].rpartition(".")[2] if number else ""
        is_launch = file.endswith(_POPEN_FORK) and function.endswith("_launch")
        if is_launch and inner in ("_bootstrap", "_exit_function"):
            return frames[:number]
    return frames


def _program(frames: Iterable[tuple[str, int, str]], clock: Clock) -> tuple[records.Frame, ...]:
    return tuple(
        records.Frame(file=clock.cut(file), line=max(line or 0, 0), function=clock.cut(function))
        for file, line, function in frames
        if not file.startswith(_RECORDER)
    )


def _awaited(item: tuple[Any, ...], opened: Opened) -> Awaited:
    kind, number, way, name, timed = item
    is_file, is_child = kind in (protocol.FILE, protocol.PIPE), kind == protocol.CHILD_ENDS
    return Awaited(
        kind=AwaitedKind(kind),
        pid=number if is_child and number > 0 else None,
        descriptor=number if is_file else None,
        way=way,
        name=name,
        open_in=opened.of(name),
        timed=timed,
    )
