"""`mlops-nb check`: what is wrong with notebooks is found without running them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small import ROOT, Run, cell, write_notebook

from mlops_nb.notebooks import read_notebook
from mlops_nb.projects import check


def found(path: Path) -> list[str]:
    "The findings of one notebook, without its name."
    return [f'{one.cell}:{one.line}: {one.what}, {one.do}' for one in check([path])]


def test_good_notebooks_have_nothing_to_mend(project: Path, mlops: Run) -> None:
    done = mlops('check', folder=project)
    assert done.returncode == 0
    assert done.stdout.startswith('nbs/validate.ipynb:cell 1:line 1: warning: it has no cell tagged')
    assert '3 notebooks checked: nothing to mend, 1 warning' in done.stderr


def test_the_notebooks_of_the_worked_example_have_no_findings(mlops: Run) -> None:
    done = mlops('check', 'examples', '--strict', folder=ROOT)
    assert done.returncode == 0, done.stdout


def test_each_finding_says_where_what_and_what_to_do(project: Path, mlops: Run) -> None:
    write_notebook(
        project / 'nbs' / 'train.ipynb',
        cell("depth: int = 'six'\nseed = 1", 'parameters'),
        cell("from mlops_nb import step\nprint(model)\nrows = step.load('rowz')"),
        cell("import pandas as pd\npd.read_csv('data.csv')\npd.read_csv('/home/ada/x.csv')\nmodel = 1"),
    )
    done = mlops('check', folder=project)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert (
        'nbs/train.ipynb:cell 1:line 1: depth is declared int, but its default is \'six\', change one of them'
        in lines
    )
    assert 'nbs/train.ipynb:cell 1:line 2: warning: seed has no type, write seed: int = 1' in lines
    assert any(
        line.startswith('nbs/train.ipynb:cell 2:line 2: model is used, which only cell 3') for line in lines
    )
    assert any(
        'cell 2:line 3: no step before \'train\' of the flow train saves \'rowz\'' in line for line in lines
    )
    assert any("Did you mean 'rows'?" in line for line in lines)
    assert any(
        "cell 3:line 2: read_csv('data.csv') depends on the working directory" in line for line in lines
    )
    assert any("cell 3:line 3: '/home/ada/x.csv' is a path of one machine" in line for line in lines)
    as_json = [json.loads(line) for line in mlops('check', '--json', folder=project).stdout.splitlines()]
    assert len(as_json) == len(lines) and as_json[0]['notebook'] == 'nbs/train.ipynb'


def test_untyped_parameters_are_a_warning_and_strictly_a_fault(tmp_path: Path, mlops: Run) -> None:
    write_notebook(tmp_path / 'x.ipynb', cell('depth = 6', 'parameters'), cell('print(depth)'))
    for options, code in ([], 0), (['--strict'], 1):
        done = mlops('check', 'x.ipynb', *options, folder=tmp_path)
        assert done.returncode == code and 'x.ipynb:cell 1:line 1: warning: depth has no type' in done.stdout


@pytest.mark.parametrize(
    ('sources', 'expected'),
    [
        (['print(a)', 'a = 1'], ['2:1: a is used, which only cell 3 defines, move that cell up']),
        (['def f(): return a', 'a = 1', 'f()'], []),
        (
            ['[b for b in range(3)]', 'print(b)'],
            ['3:1: b is used, which no cell defines, define or import it'],
        ),
        (
            [
                'x = !ls\nx',
                '%time y = 1',
                'y',
                '%%time\nz = 1',
                'z',
                '%%bash\necho $HOME',
                '%%capture w\n1',
                'w',
            ],
            [],
        ),
        (['import os.path as p, sys', 'p, sys', 'try:\n    ray\nexcept NameError:\n    ray = None'], []),
        (
            ['await go()', 'async def go(): pass'],
            ['2:1: go is used, which only cell 3 defines, move that cell up'],
        ),
        (['display(get_ipython(), _, In)', 'from math import *', 'pi'], []),
        (
            ['for i in range(2):\n    print(i, j)\n    j = 1'],
            ['2:2: j is used, which no cell defines, define or import it'],
        ),
        (['del depth', 'depth'], ['3:1: depth is used, which no cell defines, define or import it']),
        (['%cd data', 'import os\nos.chdir("x")'], ['2:1: %cd', '3:2: os.chdir()']),
        (['"""Reads /home/x"""', 'url = "https://x.y/home/z"', 'a = 6 / 2'], []),
        (["open('s3://b/k'), open(f'{depth}.csv')"], []),
        (['x = = 1'], ['2:1: this is not Python: invalid syntax']),
    ],
)
def test_cells_are_looked_at_in_the_order_in_which_they_run(
    tmp_path: Path, sources: list[str], expected: list[str]
) -> None:
    cells = [cell(source) for source in sources]
    path = write_notebook(tmp_path / 'x.ipynb', cell('depth: int = 6', 'parameters'), *cells)
    told = found(path)
    assert len(told) == len(expected), told
    assert all(one.startswith(start) for one, start in zip(told, expected, strict=True)), told


def test_what_a_notebook_was_saved_with_is_looked_at(tmp_path: Path) -> None:
    error = {
        'output_type': 'error',
        'ename': 'ValueError',
        'evalue': 'no rows',
        'traceback': ['Cell \x1b[32mIn[2]\x1b[39m\x1b[32m, line 3\x1b[39m\n'],
    }
    path = write_notebook(
        tmp_path / 'x.ipynb',
        cell('depth: int = 6', 'parameters') | {'execution_count': 5},
        cell('a = 1') | {'execution_count': 2, 'outputs': [error]},
        cell('a', 'raises-exception') | {'execution_count': 6, 'outputs': [error]},
    )
    assert found(path) == [
        '2:1: it ran as [2], after cell 1 ran as [5], restart the kernel and run all cells',
        '2:3: it shows ValueError: no rows, mend it and run all cells',
    ]


def test_a_notebook_without_a_contract_is_a_warning(tmp_path: Path) -> None:
    (only,) = check([write_notebook(tmp_path / 'x.ipynb', cell('print(1)'))])
    assert only.warning and 'no cell tagged parameters' in only.what
    library = write_notebook(tmp_path / 'y.ipynb', cell('#| default_exp y'), cell('import os\nos.getcwd()'))
    assert check([library]) == []


def test_another_language_and_an_executed_copy_are_no_findings(tmp_path: Path, mlops: Run) -> None:
    path = write_notebook(tmp_path / 'r.ipynb', cell('x <- 1'))
    content = read_notebook(path).content
    content['metadata'] = {'kernelspec': {'name': 'ir', 'language': 'R'}}
    path.write_text(json.dumps(content))
    assert check([path]) == []


def test_what_is_not_there_or_no_notebook_is_wrong_use(tmp_path: Path, mlops: Run) -> None:
    (tmp_path / 'x.ipynb').write_text('{}')
    for name in 'gone.ipynb', 'x.ipynb':
        done = mlops('check', name, folder=tmp_path)
        assert done.returncode == 2 and name in done.stderr and 'Traceback' not in done.stderr
