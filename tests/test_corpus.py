"""The in-process engine puts out what a kernel does: many small notebooks through both, cell by cell."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from mlops_nb.execute import run_notebook
from mlops_nb.notebook import read_notebook

ROOT = Path(__file__).resolve().parent.parent
CORPUS = sorted((ROOT / 'tests' / 'corpus').glob('*.ipynb'))
DOCUMENTED = ROOT / 'nbs' / 'lib' / '35_shell.ipynb'

ENOUGH = 0.95
ROW = re.compile(r'^\| (\d\d_\w+) \[([\d, ]+)\] \| \S', re.MULTILINE)  # | 01_name [2, 3] | reason |

MUST_DIFFER = (  # addresses, temporary names, widgets' ids, clocks
    (r'0x[0-9a-f]{6,}', 'ADDRESS'),
    (r'/tmp/ipykernel_\d+/\d+\.py', 'CELL'),
    (r'/tmp/tmp\w{8}', 'TEMPORARY'),
    (r'\b[0-9a-f]{32}\b', 'ID'),
    (r'\b\d+:\d\d<(\?|\d+:\d\d)', 'CLOCK'),
    (r'(\d+\.\d+|\?) ?(it/s|s/it)\] *', 'RATE]'),
    (r'\b\d+(\.\d+)? (ns|[µμ]s|us|ms|s|seconds)\b', 'TIME'),
)

PROGRAM = """
import sys
from pathlib import Path
from mlops_nb.execute import run_notebook

for path in map(Path, sys.argv[2:]):
    run_notebook(path, output=Path(sys.argv[1]) / path.name, timeout=60)
"""


def in_one_process(folder):
    "Every notebook, one after another, in a single fresh process."
    command = [sys.executable, '-c', PROGRAM, folder, *CORPUS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def in_kernels(folder):
    "Each notebook in a kernel of its own."

    def run(path):
        run_notebook(path, output=folder / path.name, engine='kernel', cwd=folder, timeout=60)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, CORPUS))


def comparable(outputs):
    "Outputs without what must differ; a kernel sends stdout and stderr by a timer, so each is put together."
    found, streams = [], {}
    for output in outputs:
        if output['output_type'] != 'stream':
            found.append(output)
            streams = {}
        elif output['name'] in streams:
            streams[output['name']]['text'] += output['text']
        else:
            streams[output['name']] = {**output}
            found.append(streams[output['name']])
            found[-len(streams) :] = [streams[name] for name in sorted(streams)]
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
        found |= {(path.stem, i): comparable(cell.outputs) for i, cell in enumerate(code, 1)}
        if 'ipywidgets' in str(code) or 'tqdm.notebook' in str(code):
            state = executed.metadata.get('widgets', {}).get('application/vnd.jupyter.widget-state+json', {})
            models = map(same_everywhere, state.get('state', {}).values())
            found[path.stem, 0] = sorted(models, key=json.dumps)
    return found


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    "Each cell's outputs, from this process and from a kernel."
    ours, theirs = tmp_path_factory.mktemp('ours'), tmp_path_factory.mktemp('theirs')
    in_one_process(ours)
    in_kernels(theirs)
    kernels = outputs(theirs)
    return {cell: (found, kernels[cell]) for cell, found in outputs(ours).items()}


@pytest.fixture(scope='module')
def different(both):
    return {cell for cell, (ours, theirs) in both.items() if ours != theirs}


@pytest.fixture(scope='module')
def documented():
    "The differences that the engine's notebook lists with their reasons."
    text = '\n'.join(cell['source'] for cell in read_notebook(DOCUMENTED).cells)
    return {
        (name, int(number)) for name, numbers in ROW.findall(text) for number in re.findall(r'\d+', numbers)
    }


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 50
    sources = [c['source'] for path in CORPUS for c in read_notebook(path).cells if c['cell_type'] == 'code']
    assert len(sources) >= 150


def test_nearly_all_cells_put_out_what_they_do_in_a_kernel(both, different):
    equal = len(both) - len(different)
    print(f'\n{equal} of {len(both)} cells equal')
    assert equal / len(both) >= ENOUGH


def test_each_cell_that_differs_is_listed_with_its_reason(both, different, documented):
    assert {cell: both[cell] for cell in different - documented} == {}


def test_no_cell_is_listed_that_has_become_equal(different, documented):
    assert documented - different == set()
