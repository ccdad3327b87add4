"""The in-process engine puts out what a kernel does: many small notebooks through both, cell by cell."""

import difflib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import nbformat
import pytest

from mlops_nb.notebooks import read_notebook, run_notebook

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = sorted((ROOT / 'tests' / 'corpus').glob('*.ipynb'))
DOCUMENTED = ROOT / 'nbs' / 'lib' / 'notebooks' / '080_shell.ipynb'

ENOUGH = 0.95
# write to descriptors, which a kernel reads by the way: at what place among the displays is chance
BY_THE_WAY = 'shell_lines', 'subprocesses', 'descriptors', 'forks', 'multiprocessing'
ROW = re.compile(r'^\| (\d\d_\w+) \[([\d, ]+)\] \| (sometimes)?', re.MULTILINE)  # | 01_name [2, 3] | reason |

MUST_DIFFER = (  # addresses, temporary names, widgets' ids, clocks
    (r'0x[0-9a-f]{6,}', 'ADDRESS'),
    (r'/tmp/ipykernel_\d+/\d+\.py', 'CELL'),
    (r'/tmp/tmp\w{8}', 'TEMPORARY'),
    (r'(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])', 'ID'),
    (r'\b\d+:\d\d(<|&lt;)(\?|\d+:\d\d)', 'CLOCK'),
    (r'\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+', 'DATE'),
    (r'(\d+\.\d+|\?) ?(it/s|s/it)\] *', 'RATE]'),
    (r'\b\d+(\.\d+)?(e\+\d+)? (ns|[µμ]s|us|ms|s|seconds)\b', 'TIME'),
)

PROGRAM = """
import sys
from pathlib import Path
from mlops_nb.notebooks import run_notebook

for path in map(Path, sys.argv[2:]):
    run_notebook(path, output=Path(sys.argv[1]) / path.name, timeout=600)
"""


def in_one_process(folder, *, cwd):
    "Every notebook, one after another, in a single fresh process."
    command = [sys.executable, '-c', PROGRAM, folder, *CORPUS]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def in_kernels(folder, *, cwd, paths=CORPUS):
    "Each notebook in a kernel of its own."

    def run(path):
        run_notebook(path, output=folder / path.name, engine='kernel', cwd=cwd, timeout=600)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, paths))


def comparable(outputs, *, by_the_way):
    "Outputs without what must differ; a kernel sends stdout and stderr by a timer, so each is put together."
    found, streams = [], {'stderr': '', 'stdout': ''}
    for output in [*outputs, None]:
        if output and output['output_type'] == 'stream':
            streams[output['name']] += output['text']
        elif not (output and by_the_way):
            found += [{'name': name, 'text': text} for name, text in streams.items() if text]
            streams = dict.fromkeys(streams, '')
        if output and output['output_type'] != 'stream':
            found.append(output)
    return same_everywhere(found)


def same_everywhere(content):
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    for pattern, name in MUST_DIFFER:
        text = re.sub(pattern, name, text)
    return json.loads(text)


def outputs(folder):
    "What each code cell put out: (notebook, number of the cell, from 1): outputs; 0 is the widgets' state."
    found = {}
    for path in CORPUS:
        executed = nbformat.read(folder / path.name, as_version=4)
        code = [cell for cell in executed.cells if cell.cell_type == 'code']
        by_the_way = path.stem[3:] in BY_THE_WAY
        for number, cell in enumerate(code, 1):
            found[path.stem, number] = comparable(cell.outputs, by_the_way=by_the_way)
        if 'widgets' in executed.metadata:
            states = executed.metadata.widgets['application/vnd.jupyter.widget-state+json']['state']
            found[path.stem, 0] = sorted(map(same_everywhere, states.values()), key=json.dumps)
    return found


@pytest.fixture(scope='module')
def both(tmp_path_factory, documented):
    """Each cell's outputs, from this process and from a kernel.

    A kernel tells what came through a descriptor when it has time to, on a busy machine behind the cell's
    end: a notebook that differs where none does runs again.
    """
    ours, theirs, cwd = map(tmp_path_factory.mktemp, ('ours', 'theirs', 'cwd'))
    in_one_process(ours, cwd=cwd)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('PYTEST_CURRENT_TEST')  # under pytest, ipykernel leaves the descriptors alone
        in_kernels(theirs, cwd=cwd)
        for _ in range(3):
            one, other = outputs(ours), outputs(theirs)
            found = {cell: (one.get(cell), other.get(cell)) for cell in one | other}
            late = {cell[0] for cell in found.keys() - documented.keys() if found[cell][0] != found[cell][1]}
            in_kernels(theirs, cwd=cwd, paths=[path for path in CORPUS if path.stem in late])
    return found


@pytest.fixture(scope='module')
def different(both):
    return {cell for cell, (ours, theirs) in both.items() if ours != theirs}


@pytest.fixture(scope='module')
def documented():
    "The differences that the engine's notebook lists with their reasons: cell: whether it is always there."
    text = '\n'.join(cell['source'] for cell in read_notebook(DOCUMENTED).cells)
    return {
        (name, int(number)): not sometimes
        for name, numbers, sometimes in ROW.findall(text)
        for number in numbers.split(',')
    }


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 50
    sources = [c['source'] for path in CORPUS for c in read_notebook(path).cells if c['cell_type'] == 'code']
    assert len(sources) >= 150


def test_nearly_all_cells_put_out_what_they_do_in_a_kernel(both, different):
    equal = len(both) - len(different)
    print(f'\n{equal} of {len(both)} cells equal')
    assert equal / len(both) >= ENOUGH


def told_apart(ours, theirs):
    "The first lines in which two cells' outputs differ: a whole one may be megabytes long."
    texts = [
        json.dumps(one, indent=1, ensure_ascii=False).replace('\\n', '\n').splitlines()
        for one in (ours, theirs)
    ]
    lines = difflib.unified_diff(*texts, 'in this process', 'in a kernel', lineterm='', n=0)
    return '\n'.join(line[:200] for line in islice(lines, 20))


def test_each_cell_that_differs_is_listed_with_its_reason(both, different, documented):
    unlisted = sorted(different - documented.keys())
    assert not unlisted, '\n'.join(f'{cell}\n{told_apart(*both[cell])}' for cell in unlisted)


def test_no_cell_is_listed_that_has_become_equal(different, documented):
    assert [cell for cell, always in documented.items() if always and cell not in different] == []
