"""Small commits, for processes that race each other: imports only what a commit needs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from mlops_nb.contracts import Column, Contract
from mlops_nb.core import load_settings
from mlops_nb.data import commit
from mlops_nb.store import open_store

ROWS = Contract(
    'rows', (Column(name='n', type='int'), Column(name='at', type='timestamp')), key=('n',), event_time='at'
)


def small(number: int, size: int = 3) -> pa.Table:
    "Some rows; for the same number and size, the same rows."
    times = [datetime(2013, number, 1 + i % 28, tzinfo=UTC) for i in range(size)]
    return pa.table({'n': [1000 * number + i for i in range(size)], 'at': times})


def commit_some(number: int, root: Path, times: int) -> list[int]:
    "Commit that many batches of one process's own; the numbers of the versions."
    store = open_store(load_settings(root))
    return [
        commit(store, 'rows', small(number + 1, size=i + 1), batch=f'{number}-{i}', contract=ROWS).version
        for i in range(times)
    ]


def commit_same(number: int, root: Path) -> int:
    "Commit the batch that all others commit too."
    return commit(open_store(load_settings(root)), 'rows', small(1), batch='2013-01', contract=ROWS).version
