"""Workers on other machines: a Dask cluster, by the interface that the standard library has for executors."""

import pickle
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from converter.errors import ClusterError

_SECONDS: Final = 5
"""For the scheduler to answer, and for a first worker to be there."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An executor, how many tasks it works on at once, and how it says that tasks were lost."""

    executor: Executor
    threads: int
    lost: tuple[type[Exception], ...]
    """By these exceptions."""
    connected: Callable[[], bool]
    """Or not at all: once the scheduler was gone, what was under way may stay so for ever."""


@contextmanager
def connected(scheduler: str, describe: Callable[[], Any]) -> Iterator[Cluster]:
    """The cluster at ``scheduler``, for the time of the block. What is under way at its end is given up.

    Its workers must say the same as this process when asked to ``describe`` themselves. Raises ``ClusterError`` where
    there is no such cluster.
    """
    distributed = _distributed()
    encrypted = scheduler.startswith(("tls://", "wss://"))
    # Without that the client's constructor raises a TypeError, and what is left of it waits for ten seconds.
    if encrypted and distributed.Security().get_connection_args("client")["ssl_context"] is None:
        raise ClusterError(f"{scheduler} needs Dask's TLS configuration: distributed.comm.tls.ca-file and client")
    with warnings.catch_warnings():
        # A document travels with its task where workers can't read the dump, and may be large.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        try:
            client = distributed.Client(scheduler, timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise ClusterError(f"no Dask scheduler answers at {scheduler}: {_first_line(error)}") from None
        try:
            try:
                client.wait_for_workers(1, timeout=_SECONDS)
            except TimeoutError:
                raise ClusterError(f"the Dask scheduler at {scheduler} has no workers: start some") from None
            _refuse_others(client.run(describe, on_error="return"), describe())
            executor = _Executor(client, describe)
            connection = client.scheduler_comm

            def is_connected() -> bool:
                return client.scheduler_comm is connection

            lost = CancelledError, distributed.KilledWorker, distributed.comm.CommClosedError
            try:
                yield Cluster(executor, sum(client.nthreads().values()), lost, is_connected)
            finally:
                if is_connected():
                    executor.give_up()
        finally:
            client.close()


class _Executor(Executor):
    """Does what ``distributed.Client.get_executor`` promises.

    That one looks at a task's status once more when it has the result. If the result's worker was lost just then, it
    takes the result for an exception, and stumbles. Where a result was lost on its way and making it anew failed, it
    never says so. Both are in ``distributed.cfexecutor._cascade_future``, of 2025.1 as of 2026.8.
    """

    def __init__(self, client: Any, describe: Callable[[], Any]) -> None:
        self._client = client
        self._describe = describe
        self._under_way: WeakSet[Future[Any]] = WeakSet()

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        call = pickle.dumps(_Call(partial(work, *arguments, **options)))
        task = self._client.submit(pickle.loads, call, pure=False)
        outcome: Future[Any] = Future()
        outcome.add_done_callback(lambda done: task.release())
        self._under_way.add(outcome)
        self._client.loop.add_callback(self._settle, outcome, task)
        return outcome

    async def _settle(self, outcome: Future[Any], task: Any) -> None:
        try:
            result = await self._result(task)
        except Exception as error:
            if outcome.set_running_or_notify_cancel():
                outcome.set_exception(error)
        else:
            if outcome.set_running_or_notify_cancel():
                outcome.set_result(result)

    async def _result(self, task: Any) -> Any:
        try:
            return await task
        except (ImportError, AttributeError):
            # What unpickling raises in a worker that doesn't know a name. It may be a bug of ours as well.
            _refuse_others(await self._client.run(self._describe, on_error="return"), self._describe())
            raise

    def give_up(self) -> None:
        """Whatever is under way."""
        for outcome in list(self._under_way):
            outcome.cancel()


@dataclass(frozen=True, slots=True)
class _Call:
    """Work that is done when it is unpickled.

    A Dask worker that can't unpickle a task's function or arguments ends, and says nothing of it to whoever waits for
    the task. Hence the task is ``pickle.loads``, which every worker knows, and what it raises is the task's error. The
    scheduler, which unpickles tasks too, need not know novel-backfill then.
    """

    work: Callable[[], Any]

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return self.work, ()


def _distributed() -> Any:
    try:
        import dask

        # Whatever it has to say that matters ends the run, in one line.
        quiet = dict.fromkeys(["distributed", "distributed.client", "tornado", "tornado.application"], "critical")
        with dask.config.set({"logging": quiet}):
            import distributed
    except ImportError:
        raise ClusterError("--scheduler needs Dask: pip install 'novel-backfill[cluster]'") from None
    return distributed


def _refuse_others(found: dict[str, Any], wanted: Any) -> None:
    for worker, said in sorted(found.items()):
        if isinstance(said, BaseException):
            raise ClusterError(
                f"the worker at {worker} has no such novel-backfill ({_first_line(said)}): "
                f"install {wanted} on all workers"
            )
        if said != wanted:
            raise ClusterError(f"the worker at {worker} has {said}: install {wanted} on all workers")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
