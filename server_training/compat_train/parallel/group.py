"""The processes of one training as a group: they begin together, one of them writes, and they end together.

Every process runs the same command. Where files are made, that of rank 0 goes first and the others then find them, so
all need to see the same folders. Between steps they wait for each other inside of torch, at most as long as the setting
``process_timeout`` says; elsewhere they wait as long as the others live.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from compat_sdk.errors import TrainingError
from compat_sdk.shown import shortened
from compat_train.config.parts import Execution
from compat_train.device import device_of
from compat_train.parallel.heartbeat import Heartbeat
from compat_train.parallel.launch import forget_launch, launched

_POLL_S = 0.05
_FAREWELL_S = 5.0


class _Config(Protocol):
    @property
    def execution(self) -> Execution: ...


ConfigT = TypeVar("ConfigT", bound=_Config)
ResultT = TypeVar("ResultT")
Rest = ParamSpec("Rest")


class _Group:
    """This process among the others."""

    def __init__(self, execution: Execution) -> None:
        launch = launched()
        self.rank, self.count = launch.rank, launch.count
        self._timeout = execution.process_timeout
        device = device_of(execution.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        patience = timedelta(seconds=self._timeout)
        try:
            self._store, _, _ = next(rendezvous("env://", timeout=patience))
            self.heart = Heartbeat(PrefixStore("hearts", self._store), self.rank, self.count, self._timeout)
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=PrefixStore("group", self._store),
                rank=self.rank,
                world_size=self.count,
                timeout=patience,
            )
        except RuntimeError as error:
            raise TrainingError(
                f"rank {self.rank} of {self.count} found not all of the others within {self._timeout} seconds "
                f"({shortened(str(error), 100)}); see whether each was started, and reaches MASTER_ADDR"
            ) from error
        self._meetings = 0

    def wait_for(self, key: str) -> None:
        """Waits until another process has set a key, as long as all of them live."""
        looked = time.monotonic()
        while not self._store.check([key]):
            time.sleep(_POLL_S)
            if time.monotonic() - looked > self._timeout:
                if absent := self.heart.absent():
                    raise TrainingError(_ended(absent))
                looked = time.monotonic()
            elif any(self._store.check([f"hearts/failed/{rank}"]) for rank in range(self.count) if rank != self.rank):
                raise TrainingError(_ended(self.heart.absent()))

    def set(self, key: str) -> None:
        self._store.set(key, "")

    def meet(self) -> None:
        """Waits until every process is here. Rank 0, which may keep the store, goes last."""
        self._meetings += 1
        for point in ("here", "gone"):
            self.set(f"{point}/{self._meetings}/{self.rank}")
            for rank in range(self.count) if point == "here" or self.rank == 0 else ():
                self.wait_for(f"{point}/{self._meetings}/{rank}")

    def give_up(self, error: BaseException) -> None:
        """Tells the others why this process fails, and lets those that are waiting go."""
        with contextlib.suppress(RuntimeError):
            self.heart.tell_failure(shortened(f"{type(error).__name__}: {error}", 150))
        if dist.get_backend() == "gloo":  # NCCL may wait for what never ends
            dist.destroy_process_group()
        if self.rank == 0:  # the others read it in the store, which may end with this process
            with contextlib.suppress(TrainingError, RuntimeError):
                until = time.monotonic() + _FAREWELL_S
                keys = [f"hearts/failed/{rank}" for rank in range(1, self.count)]
                while not self._store.check(keys) and time.monotonic() < until:
                    time.sleep(_POLL_S)
        self.heart.close()

    def close(self) -> None:
        self.heart.close()
        if dist.is_initialized():
            dist.destroy_process_group()


_group: _Group | None = None


def processes() -> int:
    """How many processes work on this training; 1 outside of what is done `together`."""
    return 1 if _group is None else _group.count


def rank() -> int:
    """The number of this process among those that were started together, from 0."""
    return launched().rank if _group is None else _group.rank


def leads() -> bool:
    """Whether this process is the one that writes, logs and looks."""
    return rank() == 0


def at_step(step: int | None) -> None:
    """Tells the others which step begins; None after the last."""
    if _group is not None:
        _group.heart.at(step)


def meet() -> None:
    """Waits, as long as all live, until every process of the group is here."""
    if _group is not None:
        _group.meet()


@contextlib.contextmanager
def leader_first(path: Path) -> Iterator[None]:
    """Around what makes a file if it is not there: rank 0 does it, and the others find it. Alone it does nothing.

    Args:
        path: Of the file, the same in all processes.

    Raises:
        TrainingError: Another process failed or is gone.
    """
    if _group is None:
        yield
        return
    key = f"made/{path}"
    if not leads():
        _group.wait_for(key)
    yield
    if leads():
        _group.set(key)


def together(
    train: Callable[Concatenate[ConfigT, Rest], ResultT],
) -> Callable[Concatenate[ConfigT, Rest], ResultT]:
    """A training that all processes of a launch do as one; for a single process it is what it was.

    All return what it returns, once rank 0 has written it. It begins with a configuration that has ``execution``.
    A process that fails, is killed or hangs ends it in all of them, with a TrainingError that names it.
    """

    @functools.wraps(train)
    def shared(config: ConfigT, /, *rest: Rest.args, **named: Rest.kwargs) -> ResultT:
        global _group
        if launched().count == 1 or _busy:
            return train(config, *rest, **named)
        with _joined(config.execution):
            return train(config, *rest, **named)

    return shared


_busy = False


@contextlib.contextmanager
def _joined(execution: Execution) -> Iterator[None]:
    global _group, _busy
    if _group is None:
        _group = _Group(execution)
        atexit.register(_close)
    _busy = True
    try:
        yield
        _group.meet()
    except BaseException as error:
        group, _group = _group, None
        lost = isinstance(error, RuntimeError)
        absent = group.heart.absent() if lost else []
        if lost and not absent and _is_of_the_group(error):
            absent = [f"a step took longer than {execution.process_timeout} seconds; raise process_timeout"]
        group.give_up(error)
        if absent:
            raise TrainingError(_ended(absent)) from error
        raise
    finally:
        _busy = False
        at_step(None)


def leave() -> None:
    """Ends what is done together: rank 0 goes on as a single process, and its workers are single ones too."""
    _close()
    if leads():
        forget_launch()


def _close() -> None:
    global _group
    if _group is not None:
        _group.close()
        _group = None


def _is_of_the_group(error: BaseException) -> bool:
    """Whether processes lost each other; gloo has no type of its own for that."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _ended(absent: list[str]) -> str:
    return shortened(f"the training ended: {'; '.join(absent)}. The same command continues it", 280)
