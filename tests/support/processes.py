"""Calls in processes of their own: to be killed at a write point, or to race each other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any

# One clean process imports what takes seconds; the others are forked from it in milliseconds.
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(
    ['mlops_nb.models.aliases', 'mlops_nb.store.store', 'sklearn.linear_model', 'skops.io']
)


def _credentials() -> dict[str, str]:
    "What the clean process may not know: it began before the servers did."
    return {name: value for name, value in os.environ.items() if name.startswith('AWS_')}


def _alone(
    function: Callable[..., Any], arguments: Sequence[Any], crash_at: str, environment: dict[str, str]
) -> None:
    os.setsid()  # a write point kills the whole group: it must be ours alone
    os.environ.update(environment)
    if crash_at:
        os.environ['MLOPS_NB_CRASH_AT'] = crash_at
    function(*arguments)


def run(function: Callable[..., Any], *arguments: Any, crash_at: str = '') -> int:
    "Call a function in a process group of its own; its exit code, -9 when it was killed."
    process = SERVER.Process(target=_alone, args=(function, arguments, crash_at, _credentials()))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _race(
    function: Callable[..., Any],
    number: int,
    arguments: Sequence[Any],
    barrier: Any,
    queue: Any,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    barrier.wait(timeout=600)
    queue.put((number, function(number, *arguments)))


def race(function: Callable[..., Any], *arguments: Any, processes: int) -> list[Any]:
    "Call `function(number, *arguments)` in that many processes at once; what each returned."
    barrier, queue = SERVER.Barrier(processes), SERVER.SimpleQueue()
    started = [
        SERVER.Process(target=_race, args=(function, number, arguments, barrier, queue, _credentials()))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * processes
    answers = dict(queue.get() for _ in started)
    return [answers[number] for number in range(processes)]
