"""A command and a task import what they use and nothing else: importing is most of what a short one costs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Run, cell, write_notebook

FRAMES = 'numpy pandas pyarrow'
REST = 'IPython alembic boto3 duckdb jinja2 matplotlib metaflow papermill scipy skops sklearn whylogs'
ROWS = 'n,word\n1,a\n2,b\n3,a\n'


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
        ('data commit rows rows.csv', REST),
        ('profile build rows.csv', f'sqlalchemy {REST}'),
        ('drift check rows.csv --against rows.csv', f'sqlalchemy {REST.replace("jinja2 ", "")}'),
    ],
)
def test_a_command_imports_only_what_it_uses(project: Path, mlops: Run, command: str, unused: str) -> None:
    (project / 'rows.csv').write_text(ROWS)
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
