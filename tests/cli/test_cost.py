"""A command and a task import what they use and nothing else: importing is most of what a short one costs."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import Run, cell, write_notebook

from mlops_nb.contracts import Column, Contract, Pair, write_contract

FRAMES = 'numpy pandas pyarrow'
REST = (
    'IPython alembic boto3 duckdb jinja2 matplotlib metaflow papermill pydantic scipy skops sklearn whylogs'
)
ROWS = 'n,word\n1,a\n2,b\n3,a\n'


def every_kind(project: Path) -> None:
    "Two files with a column of each type, and a contract that uses all that a contract can say."
    names = 'n', 'price', 'word', 'ok', 'day', 'at', 'who'
    columns = [
        Column(name='n', type='int', minimum=0, maximum=10**6, unique=True),
        Column(name='price', type='float', missing=True, minimum=-1, maximum=1e9),
        Column(name='word', type='string', missing=True, allowed=('a', 'b')),
        Column(name='ok', type='bool', allowed=(True, False)),
        Column(name='day', type='date', minimum=date(2000, 1, 1)),
        Column(name='at', type='timestamp', minimum=datetime(2000, 1, 1, tzinfo=UTC)),
        Column(name='who', type='string', personal=True),
    ]
    whole = {
        'pairs': (Pair('n', 'price', ((1.5,), (0.5,))),),
        'segments': ('word',),
        'freshness': '9999 weeks',
    }
    (project / 'contracts').mkdir(exist_ok=True)
    rules = Contract('kinds', tuple(columns), ('n', 'day'), event_time='at', minimum_rows=1, **whole)
    write_contract(rules, project / 'contracts' / 'kinds.toml')
    for name, start in ('kinds', 0), ('more', 100):
        rows = [
            (
                *(start + i, [0.5 * i, None, float('nan')][i % 3], [None, 'a', 'b'][i % 3], i % 2 == 0),
                *(date(2013, 7, 1 + i), datetime(2013, 7, 1 + i, tzinfo=UTC), f'person {i}'),
            )
            for i in range(6)
        ]
        table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
        pq.write_table(table, project / f'{name}.parquet')


def imported(told: str) -> set[str]:
    "The packages that a process says it imported, asked with PYTHONPROFILEIMPORTTIME."
    names = re.findall(r'import time: .*\|\s+(\S+)$', told, re.MULTILINE)
    assert 'mlops_nb' in names
    return {name.partition('.')[0] for name in names}


@pytest.mark.parametrize(
    ('command', 'unused'),
    [
        ('--help', f'sqlalchemy rich {FRAMES} {REST}'),
        ('--version', f'sqlalchemy rich {FRAMES} {REST}'),
        ('data commit --help', f'sqlalchemy rich {FRAMES} {REST}'),
        ('data versions', f'{FRAMES} {REST}'),
        ('data versions --json', f'rich {FRAMES} {REST}'),
        ('data tag rows@1 first', f'rich {FRAMES} {REST}'),
        ('models list', f'{FRAMES} {REST}'),
        ('audit', f'{FRAMES} {REST}'),
        ('data commit rows rows.csv', f'pandas rich {REST}'),
        ('data commit kinds kinds.parquet', f'pandas rich {REST}'),
        ('data commit kinds more.parquet kinds.parquet', f'pandas rich {REST}'),
        ('data get rows@1 out.parquet', f'pandas rich {REST}'),
        ('profile build rows.csv', f'pandas sqlalchemy {REST}'),
        ('drift check rows.csv --against rows.csv', f'pandas sqlalchemy {REST.replace("jinja2 ", "")}'),
    ],
)
def test_a_command_imports_only_what_it_uses(project: Path, mlops: Run, command: str, unused: str) -> None:
    (project / 'rows.csv').write_text(ROWS)
    every_kind(project)
    assert mlops('data', 'commit', 'rows', 'rows.csv', folder=project).returncode == 0
    done = mlops(*command.split(), folder=project, PYTHONPROFILEIMPORTTIME='1')
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(imported(done.stderr) & set(unused.split())) == []


def test_the_task_of_a_notebook_imports_only_what_it_uses(project: Path, mlops: Run) -> None:
    notebook = write_notebook(project / 'nbs' / 'look.ipynb', cell('print("said")'))
    assert mlops('doctor', folder=project).returncode == 0  # makes the catalogue
    done = mlops('run', notebook, folder=project, PYTHONPROFILEIMPORTTIME='1')
    assert done.returncode == 0, done.stdout + done.stderr
    found = imported(done.stdout + done.stderr)
    assert {'metaflow', 'IPython', 'sqlalchemy', 'jinja2'} <= found  # of the task, too
    unused = f'{FRAMES} alembic boto3 duckdb matplotlib papermill scipy skops sklearn whylogs'
    assert sorted(found & set(unused.split())) == []
