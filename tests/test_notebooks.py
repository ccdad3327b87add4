"""What notebooks keep. They run as tests of their own: see nbs in pytest's testpaths, and `tested`."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / 'nbs' / 'lib').glob('*.ipynb'))


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


def test_the_tutorial_of_profiles_runs_and_says_what_it_says() -> None:
    notebook = nbformat.read(ROOT / 'nbs' / 'tutorials' / 'profiles.ipynb', as_version=4)
    NotebookClient(notebook, timeout=120).execute()
    told = str([c.outputs for c in notebook.cells if c.cell_type == 'code'])
    for sentence in '35,000 rows in', 'area under the ROC curve: 0.87', 'carrier=UA    1,642 rows':
        assert sentence in told
    assert 'person 1' not in told
