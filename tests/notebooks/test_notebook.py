"""What people's own notebooks and nbdev's own exports do to `mlops_nb.notebooks.document`."""

import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import nbformat
import pytest

from mlops_nb.core import NotFoundError, UsageError
from mlops_nb.notebooks import as_notebook, contract, read_notebook, write_notebook
from mlops_nb.notebooks.exports import refuse_stale, stale_exports
from mlops_nb.notebooks.parameters import REQUIRED, inject


def code(source, *tags, **metadata):
    tagged = {'tags': list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, metadata={**tagged, **metadata})


def save(path, *cells, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata=metadata), path)
    return path


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    "A project that uses every way of exporting, just exported."
    root = tmp_path_factory.mktemp('project')
    (root / 'pyproject.toml').write_text(
        '[project]\nname = "my-flights"\nversion = "0.1"\n[tool.nbdev]\nlib_path = "flights"\n'
    )
    nbs = root / 'nbs'
    save(
        nbs / 'core.ipynb',
        nbformat.v4.new_markdown_cell('# core\n\n> What all others use.'),
        code('#| default_exp core'),
        code('#| export\nfrom __future__ import annotations\nimport math'),
        code('#|export\n\nLATE = 15   # minutes\n'),
        code('#| exporti\n#| hide\ndef _secret(): return """\nno marker\nfrom .here import there\n"""'),
        code('#| exports\ndef late(delay):\n    "Late?"\n\n    return delay > LATE'),
        code('1 + 1'),
        code('#| export\n'),
    )
    save(
        nbs / 'deep' / 'features.ipynb',
        code('#| default_exp models.features'),
        code(
            '#| export\nfrom flights.core import (late,\n    LATE)\nfrom flights import core\nimport flights'
        ),
        code('#| export\ndef f():\n    from flights.core import late\n    return late'),
        code('#| export core\nEXTRA = 1'),
        code('by_metadata = 1', nbdev={'export': 'true'}),
    )
    save(nbs / '_scratch.ipynb', code('#| default_exp scratch'), code('#| export\nx = 1'))
    save(nbs / 'plain.ipynb', code('x = 1'))
    export(root)
    return root


def export(root):
    subprocess.run([Path(sys.executable).parent / 'nbdev-export'], cwd=root, check=True, capture_output=True)


@pytest.fixture
def project(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / 'project')


def edit(root, name, change):
    path = root / 'nbs' / name
    notebook = nbformat.read(path, 4)
    change(notebook.cells)
    nbformat.write(notebook, path)


def test_what_nbdev_has_just_exported_is_never_stale(project):
    assert (project / 'flights' / 'models' / 'features.py').exists()
    assert stale_exports(project) == []


def replaced(index, old, new):
    def change(cells):
        cells[index].source = cells[index].source.replace(old, new)

    return change


@pytest.mark.parametrize(
    'change',
    [
        replaced(3, '15', '20'),
        replaced(3, 'minutes', 'min'),
        replaced(4, 'there', 'elsewhere'),
        lambda cells: cells.append(code('#| export\ny = 1')),
        lambda cells: cells.pop(5),
        lambda cells: cells.insert(3, cells.pop(5)),
        replaced(6, '1 + 1', '#| export\nz = 1'),
    ],
    ids=['code', 'comment', 'text', 'added', 'gone', 'moved', 'export now'],
)
def test_a_change_of_an_exported_cell_is_stale(project, change):
    edit(project, 'core.ipynb', change)
    (stale,) = stale_exports(project)
    assert (stale.module, stale.notebook.name) == ('flights.core', 'core.ipynb')


def test_a_stale_export_is_refused_with_the_command_that_makes_up_for_it(project):
    edit(project, 'core.ipynb', lambda cells: cells.append(code('#| export\nfrom flights.models import x')))
    with pytest.raises(UsageError) as refused:
        refuse_stale(project)
    assert str(refused.value).endswith(f'cd {project} && nbdev-export')
    assert 'core.ipynb has changed since its last export: flights.core' in str(refused.value)
    export(project)
    refuse_stale(project)


def test_a_change_of_another_cell_or_of_spaces_is_not_stale(project):
    edit(project, 'core.ipynb', replaced(6, '1 + 1', '2 + 2'))
    edit(project, 'core.ipynb', replaced(3, '\n\nLATE', '\n\n\nLATE'))
    edit(project, 'plain.ipynb', replaced(0, 'x', 'y'))
    assert stale_exports(project) == []


def test_a_cell_for_another_module_is_compared_with_that_module(project):
    edit(project, 'deep/features.ipynb', replaced(3, 'EXTRA = 1', 'EXTRA = 2'))
    (stale,) = stale_exports(project)
    assert (stale.module, stale.notebook.name) == ('flights.core', 'features.ipynb')
    refuse_stale(project, ['flights.models.features'])


def test_a_notebook_that_was_never_exported_is_stale(project):
    save(project / 'nbs' / 'new.ipynb', code('#| default_exp new'), code('#| export\nx = 1'))
    with pytest.raises(UsageError, match='was never exported'):
        refuse_stale(project)


def test_a_project_without_nbdev_exports_nothing(tmp_path):
    save(tmp_path / 'nbs' / 'x.ipynb', code('#| default_exp x'), code('#| export\nx = 1'))
    assert stale_exports(tmp_path) == []
    (tmp_path / 'pyproject.toml').write_text('[project]\nname = "x"\n')
    assert stale_exports(tmp_path) == []
    (tmp_path / 'pyproject.toml').write_text('[project\n')
    with pytest.raises(UsageError, match='toml cannot be read'):
        stale_exports(tmp_path)


def test_jupyter_reads_what_is_written_and_finds_it_unchanged(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell('# Flights\n\nof 2013'),
        code('print(1)\n2', 'parameters'),
        nbformat.v4.new_raw_cell(''),
    ]
    cells[1].outputs = [
        nbformat.v4.new_output('stream', text='1\nzwölf\n'),
        nbformat.v4.new_output('display_data', {'text/html': '<b>\n</b>', 'image/png': 'aGk=\n'}),
        nbformat.v4.new_output('error', ename='E', evalue='e', traceback=['a', 'b']),
    ]
    path = save(tmp_path / 'a.ipynb', *cells, kernelspec={'name': 'python3', 'display_name': 'Python 3'})
    write_notebook(read_notebook(path).content, tmp_path / 'b.ipynb')
    assert (tmp_path / 'b.ipynb').read_text() == path.read_text()
    nbformat.validate(nbformat.read(tmp_path / 'b.ipynb', 4))


def test_an_injected_notebook_is_valid_with_and_without_cell_ids(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[code('x: int = 1', 'parameters')])
    nbformat.validate(inject(as_notebook(notebook, Path('x.ipynb')), {'x': 2}).content)
    del notebook.cells[0]['id']
    notebook.nbformat_minor = 4
    nbformat.validate(inject(as_notebook(notebook, Path('x.ipynb')), {'x': 2}).content)


WRITE_ON_A_FULL_DISK = """
import resource, signal, sys
from mlops_nb.notebooks import as_notebook, write_notebook
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
cell = {'cell_type': 'markdown', 'metadata': {}, 'source': 'long' * 100_000}
write_notebook({'nbformat': 4, 'nbformat_minor': 4, 'metadata': {}, 'cells': [cell]}, sys.argv[1])
"""


def test_a_notebook_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = save(tmp_path / 'a.ipynb', code('x = 1'))
    before = path.read_bytes()
    done = subprocess.run([sys.executable, '-c', WRITE_ON_A_FULL_DISK, path], capture_output=True, text=True)
    assert 'File too large' in done.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['a.ipynb']


def test_a_file_that_is_not_a_notebook_is_refused_with_what_is_wrong_with_it(tmp_path):
    for text, fault in (
        ('', 'is not a notebook'),
        ('\xff', 'is not a notebook'),
        ('[]', 'no nbformat'),
        ('{"nbformat": 4}', 'no list of cells'),
        ('{"nbformat": 5, "cells": []}', 'nbformat is 5'),
        ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', 'cell 1 has no source'),
    ):
        (tmp_path / 'x.ipynb').write_bytes(text.encode('latin-1'))
        with pytest.raises(UsageError, match=fault):
            read_notebook(tmp_path / 'x.ipynb')
    with pytest.raises(NotFoundError, match='found no notebook'):
        read_notebook(tmp_path)


def test_the_unusual_ways_to_declare_parameters_are_read():
    notebook = as_notebook(
        nbformat.v4.new_notebook(
            cells=[
                code(
                    '%load_ext x\n!ls\n"doc"\nimport datetime as dt\n'
                    'a = b = 1  # two\n'
                    'when: "dt.date" = dt.date(2013, 7, 1)\n'
                    'needed: dt.datetime\n'
                    'a: float = 2.  # the last one counts\n'
                    'rows: list[str] = [\n    "AA",  # inside\n]  # behind\n'
                    'x, y = 1, 2\n'
                    'if a: b = 3\n'
                    'nothing = None',
                    'parameters',
                )
            ]
        ),
        Path('x.ipynb'),
    )
    found = {p.name: p for p in contract(notebook).parameters}
    assert list(found) == ['a', 'b', 'when', 'needed', 'rows', 'nothing']
    assert (found['a'].type, found['a'].default, found['a'].help) == ('float', 2.0, 'the last one counts')
    assert (found['b'].type, found['b'].help, found['rows'].help) == ('int', 'two', 'behind')
    assert (found['when'].type, found['when'].default) == ("'dt.date'", date(2013, 7, 1))
    assert found['needed'].default is REQUIRED
    assert contract(notebook).check({'needed': '2013-07-01', 'nothing': 'x', 'when': date(2014, 1, 1)})
