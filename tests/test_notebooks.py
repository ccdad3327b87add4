"""Every library notebook runs as its module: exported cells give way to the installed module's names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / 'nbs' / 'lib').glob('*.ipynb'))
EXPORTED = re.compile(r'^#\|\s*export', re.MULTILINE)
TAKE_NAMES = """
import mlops_nb.{name} as _module
globals().update({{k: v for k, v in vars(_module).items() if not k.startswith('__')}})
"""


def as_module(path: Path) -> nbformat.NotebookNode:
    "The notebook with the module's names in place of the cells that were exported to it."
    notebook = nbformat.read(path, as_version=4)
    name = next(m[1] for c in notebook.cells if (m := re.search(r'#\| default_exp (\S+)', c.source)))
    first = next(
        i for i, c in enumerate(notebook.cells) if c.cell_type == 'code' and EXPORTED.search(c.source)
    )
    notebook.cells[first].source = TAKE_NAMES.format(name=name)
    notebook.cells = [
        c
        for i, c in enumerate(notebook.cells)
        if i == first
        or (
            c.cell_type == 'code'
            and not EXPORTED.search(c.source)
            and not c.source.startswith('#| default_exp')
        )
    ]
    return notebook


@pytest.mark.parametrize('path', LIBRARY, ids=lambda path: path.stem)
def test_a_library_notebook_runs_on_the_installed_module(path: Path) -> None:
    client = NotebookClient(
        as_module(path),
        timeout=300,
        resources={'metadata': {'path': str(path.parent)}},
        config=Config({'KernelManager': {'shutdown_wait_time': 60}}),  # it writes its coverage when it ends
    )
    client.execute(env={**os.environ, 'PYTHONHASHSEED': '0'})


@pytest.mark.parametrize('path', LIBRARY, ids=lambda path: path.stem)
def test_a_library_notebook_keeps_no_error_and_names_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    outputs = [o for c in notebook.cells if c.cell_type == 'code' for o in c.outputs]
    assert outputs, 'keeps no output: run it and commit what it shows'
    assert not [o for o in outputs if o.output_type == 'error']
    text = str(outputs)
    assert not re.search(r'/home/|/root/|/tmp/\w|site-packages', text)


def test_the_ten_minutes_run_as_they_are_told() -> None:
    notebook = nbformat.read(ROOT / 'nbs' / 'tutorials' / 'ten_minutes.ipynb', as_version=4)
    kept = str([c.outputs for c in notebook.cells if c.cell_type == 'code'])
    assert not re.search(r'/home/|/root/|/tmp/\w|site-packages', kept)
    NotebookClient(notebook, timeout=300).execute()
    told = str([c.outputs for c in notebook.cells if c.cell_type == 'code'])
    for sentence in (
        '1 of 15 columns drifted in new.csv: humid.',
        'precip: gives the label away',
        'rain@1 is now champion',
        '1 of 12 columns drifted in 2013-12: humid.',
        'ada decided on rain 2013-12: investigate',
        'ranking passed',
    ):
        assert sentence in kept and sentence in told
    assert 'Traceback' not in told
