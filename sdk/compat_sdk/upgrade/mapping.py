"""Engines: they map one function over pieces of work, here or on many machines, and know nothing else of an upgrade."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from compat_sdk.errors import CompatError, ConfigError, MissingExtraError
from compat_sdk.upgrade.shard import Job, Outcome
from compat_sdk.workers import Workers, usable_cores

_Task = TypeVar("_Task")
_Done = TypeVar("_Done")
ShardFunction = Callable[[Job], Outcome]
Outcomes = Generator[Outcome, None, None]
Engine = Callable[[ShardFunction, Sequence[Job], int | None], Outcomes]


def map_local(
    function: Callable[[_Task], _Done], jobs: Sequence[_Task], workers: int | None = None
) -> Generator[_Done, None, None]:
    """Map over the jobs in worker processes of this machine, and yield the outcomes as they come.

    With one worker, or one job, no process is started. A caller that stops early waits for the shards that were
    begun; the others are not. Workers end when this process dies.

    Args:
        function: A function of a module, to be found by its name.
        jobs: What to map over.
        workers: Processes; as many as there are cores if None. A script that asks for several must be guarded by
            ``if __name__ == "__main__"``, because they are started afresh.

    Raises:
        ConfigError: ``workers`` is below 1.
        CompatError: A worker died.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}, expected at least 1")
    count = min(workers or usable_cores(), len(jobs))
    if count <= 1:
        yield from map(function, jobs)
        return
    pool = Workers(count)
    try:
        for future in as_completed([pool.submit(function, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise CompatError(
            "a worker process died (killed, or out of memory); the shards that are done stay: run again, with fewer "
            "workers if memory was short"
        ) from error
    except (KeyboardInterrupt, SystemExit):
        pool.stop(now=True)  # whoever asks this process to end waits ten seconds, and a shard may take minutes
        raise
    finally:
        pool.stop()


def map_ray(
    function: Callable[[_Task], _Done], jobs: Sequence[_Task], workers: int | None = None
) -> Generator[_Done, None, None]:
    """Map over the jobs as Ray tasks of one core each: on the running cluster, else on one started here.

    Every node must see the gallery and the bundle under the same paths, on a shared file system.

    Args:
        function: A function of a module.
        jobs: What to map over.
        workers: Tasks at a time; as many as the cluster has cores if None.

    Raises:
        ConfigError: ``workers`` is below 1.
        MissingExtraError: Ray is not installed.
        CompatError: A task or its worker died; or what the function itself raised of this kind.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}, expected at least 1")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    task = ray.remote(num_cpus=1)(function)
    limit = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = list(reversed(jobs))
    running: list[Any] = []
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(task.remote(waiting.pop()))
            ready, running = ray.wait(running)
            yield from ray.get(ready)
    except ray.exceptions.RayError as error:
        if isinstance(cause := getattr(error, "cause", None), CompatError):
            raise cause from error
        raise CompatError(
            f"a task on Ray died ({error}); the shards that are done stay: mend the cluster and run again"
        ) from error
    finally:
        if running:
            ray.wait(running, num_returns=len(running))
