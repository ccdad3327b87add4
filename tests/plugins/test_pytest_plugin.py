"""What `pytest nbs/` collects in a project, runs and tells."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from small import cell, write_notebook

PYPROJECT = '[tool.nbdev]\nlib_path = "rain"\ntst_flags = ["slow", "notest"]\n'
EXPORTED = '#| export\ndef double(x):\n    return 2 * x'
Tested = Callable[..., 'subprocess.CompletedProcess[str]']


@pytest.fixture
def tested(tmp_path: Path) -> Tested:
    "pytest in a project, as a person types it."
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('PYTEST_', 'FORCE_COLOR'))}
    (tmp_path / 'settings.ini').touch()
    (tmp_path / 'pyproject.toml').write_text(PYPROJECT)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, '-m', 'pytest', *arguments]
        env = {**clean, 'COLUMNS': '200'}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture
def library(tmp_path: Path) -> Path:
    "A library notebook and its module, as nbdev writes it."
    path = tmp_path / 'nbs' / 'falls.ipynb'
    shows = cell('assert double(2) == 4')
    write_notebook(path, cell('#| default_exp falls'), cell('# why'), cell(EXPORTED), shows)
    (tmp_path / 'rain').mkdir()
    module = f'# %% ../nbs/falls.ipynb #x\n{EXPORTED.partition(chr(10))[2]}\n'
    (tmp_path / 'rain' / 'falls.py').write_text(module)
    return path


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    "How many of which."
    return {
        word: int(number) for number, word in re.findall(r'(\d+) (passed|failed|skipped|error)', done.stdout)
    }


def test_a_library_notebook_runs_as_its_module_and_coverage_is_the_packages(
    tested: Tested, library: Path, tmp_path: Path
) -> None:
    done = tested('nbs', '-v', '--cov=rain', '--cov-report=json')
    assert counts(done) == {'passed': 2}, done.stdout
    assert 'nbs/falls.ipynb::cell_3 PASSED' in done.stdout and 'nbs/falls.ipynb::cell_4 PASSED' in done.stdout
    files = json.loads((tmp_path / 'coverage.json').read_text())['files']
    assert files['rain/falls.py']['missing_lines'] == []


def test_a_module_that_cannot_be_imported_is_a_failure(tested: Tested, library: Path, tmp_path: Path) -> None:
    write_notebook(library, cell('#| default_exp falls'), cell('#| export\nimport no_such_module'), cell('1'))
    (tmp_path / 'rain' / 'falls.py').write_text('# %% ../nbs/falls.ipynb #x\nimport no_such_module\n')
    done = tested('nbs')
    assert counts(done) == {'failed': 1, 'skipped': 1} and "No module named 'no_such_module'" in done.stdout


@pytest.mark.parametrize('kind', ['library', 'step'])
def test_a_forgotten_export_is_refused(tested: Tested, library: Path, tmp_path: Path, kind: str) -> None:
    write_notebook(tmp_path / 'nbs' / 'train.ipynb', cell('depth: int = 4', 'parameters'), cell('depth'))
    (tmp_path / 'rain' / 'falls.py').write_text('# %% ../nbs/falls.ipynb #x\ndef double(x): return x\n')
    done = tested('nbs/falls.ipynb' if kind == 'library' else 'nbs/train.ipynb')
    assert counts(done) == {'failed': 1, 'skipped': 1}
    assert 'falls.ipynb has changed since its last export: rain.falls is not what it says' in done.stdout
    assert 'nbdev-export' in done.stdout and 'tested.py' not in done.stdout


def test_a_failure_names_its_cell_and_line_and_hides_no_other_notebook(
    tested: Tested, tmp_path: Path
) -> None:
    write_notebook(
        tmp_path / 'nbs' / 'a.ipynb', cell('print("hello")\nx = 1'), cell('y = 0\nx / y'), cell('x')
    )
    write_notebook(tmp_path / 'nbs' / 'b.ipynb', cell('y'))
    write_notebook(tmp_path / 'nbs' / 'c.ipynb', cell('import os\nassert "left" not in os.environ'))
    done = tested('nbs', '-rfs', '--junitxml', 'out.xml')
    assert counts(done) == {'failed': 2, 'passed': 2, 'skipped': 1}
    for text in (
        'nbs/a.ipynb: cell 2: y = 0',
        '>   2  x / y',
        '\nZeroDivisionError: division by zero',
        'FAILED nbs/a.ipynb::cell_2 - nbs/a.ipynb:cell 2:line 2: ZeroDivisionError: division by zero',
        "FAILED nbs/b.ipynb::cell_1 - nbs/b.ipynb:cell 1:line 1: NameError: name 'y' is not defined",
        'a.ipynb:cell 2:line 2: ZeroDivisionError',
    ):
        assert text in done.stdout
    assert '\x1b' not in done.stdout and '_pytest' not in done.stdout
    (failure, _) = ElementTree.parse(tmp_path / 'out.xml').getroot().iter('failure')
    assert failure.get('message', '').startswith('nbs/a.ipynb:cell 2:line 2')


def test_each_cell_is_timed_by_itself(tested: Tested, tmp_path: Path) -> None:
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell('x = 1'), cell('import time\ntime.sleep(0.5)'))
    tested('nbs', '--junitxml', 'out.xml')
    cells = ElementTree.parse(tmp_path / 'out.xml').getroot().iter('testcase')
    first, second = (float(one.get('time', 0)) for one in cells)
    assert first < second


def test_what_a_failed_cell_printed_is_shown(tested: Tested, tmp_path: Path) -> None:
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell('print("look", 6 * 7)\n1 / 0'))
    assert 'look 42' in tested('nbs').stdout


def test_cells_are_chosen_as_any_tests_are(tested: Tested, tmp_path: Path) -> None:
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell('x = 1'), cell('assert x == 1'), cell('x / 0'))
    write_notebook(tmp_path / 'nbs' / 'b.ipynb', cell('x = 1'))
    assert counts(tested('nbs/a.ipynb::cell_2')) == {'passed': 1}
    assert counts(tested('nbs', '-k', 'cell_2')) == {'passed': 1}
    assert counts(tested('nbs', '-x')) == {'failed': 1, 'passed': 2}
    assert counts(tested('nbs', '--lf')) == {'failed': 1}


def test_notebooks_are_shared_out_among_workers(tested: Tested, tmp_path: Path) -> None:
    for name in 'abcd':
        write_notebook(
            tmp_path / 'nbs' / f'{name}.ipynb', cell('x = 1'), cell('y = x'), cell(f'x / {"ab".count(name)}')
        )
    done = tested('nbs', '-n', '2', '--dist', 'loadfile')
    assert counts(done) == {'failed': 2, 'passed': 10}
    assert 'nbs/c.ipynb:cell 3:line 1: ZeroDivisionError' in done.stdout


def test_a_notebook_leaves_nothing_behind_for_the_next(tested: Tested, tmp_path: Path) -> None:
    changes = 'import os, sys\nos.environ["LEFT"] = "1"\nos.chdir("/")\nsys.path.append("/left")\nleft = 1'
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell(changes))
    looks = 'import os, sys\nassert "LEFT" not in os.environ and "/left" not in sys.path'
    here = 'from pathlib import Path\nassert Path("a.ipynb").exists() and "left" not in globals()'
    write_notebook(tmp_path / 'nbs' / 'b.ipynb', cell(looks), cell(here))
    assert counts(tested('nbs')) == {'passed': 3}


def test_a_step_runs_on_its_sample_defaults(tested: Tested, library: Path, tmp_path: Path) -> None:
    uses = cell('from rain.falls import double\nassert double(depth) == 8')
    write_notebook(tmp_path / 'nbs' / 'train.ipynb', cell('depth: int = 4', 'parameters'), uses)
    assert counts(tested('nbs/train.ipynb')) == {'passed': 2}


@pytest.mark.parametrize(
    ('declared', 'expected'),
    [
        ('depth: int = "deep"', "parameter 'depth' of nbs/train.ipynb is declared int; found 'deep' (str)"),
        ('depth: int', "parameter 'depth' of nbs/train.ipynb has no default and no value"),
        ('depth: int = (', 'the parameters of nbs/train.ipynb cannot be read'),
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused(
    tested: Tested, tmp_path: Path, declared: str, expected: str
) -> None:
    write_notebook(tmp_path / 'nbs' / 'train.ipynb', cell(declared, 'parameters'), cell('1'))
    done = tested('nbs')
    assert counts(done) == {'failed': 1, 'skipped': 1} and expected in done.stdout


def test_what_only_a_run_makes_is_not_missed_in_a_fresh_checkout(tested: Tested, tmp_path: Path) -> None:
    loads = cell('from mlops_nb import step\nrows = step.load("rows")')
    write_notebook(
        tmp_path / 'nbs' / 'train.ipynb', cell('depth: int = 4', 'parameters'), loads, cell('rows')
    )
    done = tested('nbs/train.ipynb', '-rs')
    assert counts(done) == {'passed': 1, 'skipped': 2}
    assert "train.ipynb:cell 2:line 2: NotFoundError: found no artifact 'rows'" in done.stdout
    (tmp_path / '.metaflow').mkdir()
    assert counts(tested('nbs/train.ipynb')) == {'passed': 1, 'failed': 1, 'skipped': 1}


def test_nbdevs_flags_are_honoured(tested: Tested, tmp_path: Path) -> None:
    flagged = cell('#| slow\nx = 2'), cell('#| notest\n1 / 0'), cell('#| eval: false\n1 / 0')
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell('x = 1'), *flagged, cell('assert x == 1'))
    assert counts(tested('nbs')) == {'passed': 2, 'skipped': 2}
    assert counts(tested('nbs', '--nbdev-flags', 'slow')) == {'passed': 2, 'skipped': 1, 'failed': 1}


def test_a_cell_may_be_expected_to_raise_or_not_to_run(tested: Tested, tmp_path: Path) -> None:
    cells = cell('1 / 0', 'raises-exception'), cell('1 / 0', 'skip-execution'), cell('x = 1')
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', *cells)
    assert counts(tested('nbs')) == {'passed': 2}


def test_a_cell_that_takes_too_long_for_nbdev_is_stopped(tested: Tested, tmp_path: Path) -> None:
    (tmp_path / 'pyproject.toml').write_text(f'{PYPROJECT}cell_timeout = 1\n')
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell('import time\ntime.sleep(600)'))
    assert 'cell 1:line 2: CellTimeout' in tested('nbs').stdout


def test_only_the_notebooks_of_a_project_are_collected(tested: Tested, tmp_path: Path) -> None:
    for place in 'nbs/_draft', 'nbs/.ipynb_checkpoints/a', 'elsewhere/a', 'a':
        write_notebook(tmp_path / f'{place}.ipynb', cell('1 / 0'))
    write_notebook(tmp_path / 'nbs' / 'a.ipynb', cell('1'))
    assert counts(tested()) == {'passed': 1}
    for off in ('-p', 'no:mlops_nb'), ('-o', 'mlops_nb_notebooks=false'):
        assert 'no tests ran' in tested(*off).stdout
    (tmp_path / 'pyproject.toml').write_text('')
    assert 'no tests ran' in tested().stdout


def test_a_file_that_is_no_notebook_is_an_error(tested: Tested, tmp_path: Path) -> None:
    (tmp_path / 'nbs').mkdir()
    (tmp_path / 'nbs' / 'a.ipynb').write_text('{')
    done = tested('nbs')
    assert counts(done) == {'error': 1} and 'nbs/a.ipynb is not a notebook' in done.stdout
    assert 'read_notebook' not in done.stdout


def test_pytest_imports_nothing_heavy_where_there_is_no_notebook(tested: Tested, tmp_path: Path) -> None:
    (tmp_path / 'test_x.py').write_text("""
import sys

def test_x():
    ours = [name for name in sys.modules if name.startswith('mlops_nb.')]
    assert ours == ['mlops_nb.plugins', 'mlops_nb.plugins.pytest_plugin']
    assert not {name.partition('.')[0] for name in sys.modules} & {'IPython', 'numpy', 'zmq', 'jinja2'}
""")
    done = tested('test_x.py')
    assert counts(done) == {'passed': 1}, done.stdout
