"""Notebooks that run for ever, print for ever, or lose their process: what ends them, and what is left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import COMMAND

from mlops_nb.notebooks import Notebook, read_notebook, run_notebook

ENGINES = 'in-process', 'kernel'
PATIENCE = 600  # seconds, on a machine that has a lot to do

PROGRAM = """
import sys
from pathlib import Path
from mlops_nb.notebooks import run_notebook
from mlops_nb.notebooks import as_notebook

def run(*sources, **options):
    cells = [{'cell_type': 'code', 'source': source} for source in sources]
    return run_notebook(as_notebook({'nbformat': 4, 'cells': cells}, Path('x.ipynb')), **options)
"""


def notebook(*sources):
    cells = [
        {'cell_type': 'code', 'source': one, 'metadata': {}, 'outputs': [], 'execution_count': None}
        for one in sources
    ]
    return Notebook(Path('x.ipynb'), {'cells': cells, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 4})


def run(*sources, **options):
    return run_notebook(notebook(*sources), **options)


def start(source, folder, *arguments):
    "A program of its own, in which there is `run`; not measured, as interruptions can lock coverage up."
    command = [sys.executable, '-c', PROGRAM + source, *arguments]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    env = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_PROCESS')}
    return subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **pipes)


def wait_for(path, process):
    "Until a file is there, or the process has ended without it."
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said(execution):
    "The text of each code cell."
    return [
        ''.join(output.get('text', '') for output in cell['outputs'])
        for cell in execution.notebook['cells']
        if cell['cell_type'] == 'code'
    ]


def status(path):
    cells = read_notebook(path).cells
    return [c['metadata']['papermill']['status'] for c in cells if 'papermill' in c['metadata']]


@pytest.mark.parametrize('engine', ENGINES)
def test_a_notebook_has_a_time_limit_for_all_its_cells(engine):
    execution = run('import time', *['time.sleep(0.3)'] * 9, '"never"', notebook_timeout=1, engine=engine)
    assert (execution.error.why, execution.error.name) == ('timeout', 'NotebookTimeout')
    assert execution.error.value == 'the notebook took longer than its time limit, 1 s'
    assert execution.error.cell <= 5


def test_the_shorter_of_two_limits_counts():
    sleeps = 'import time; time.sleep(600)'
    assert run(sleeps, timeout=0.1, notebook_timeout=PATIENCE).error.name == 'CellTimeout'
    assert run(sleeps, timeout=PATIENCE, notebook_timeout=0.1).error.name == 'NotebookTimeout'


QUERY = 'with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) from c'
IGNORES = {
    'except': 'while True:\n    try: time.sleep(60)\n    except: pass',
    'await': 'import asyncio\nwhile True:\n    try: await asyncio.sleep(60)\n    except BaseException: pass',
    'a call into C': f'import sqlite3\nsqlite3.connect(":memory:").execute({QUERY!r}).fetchone()',
}


@pytest.mark.parametrize('source', IGNORES.values(), ids=IGNORES)
def test_a_cell_that_ignores_its_limit_is_the_end_of_the_process_and_is_kept(tmp_path, source):
    program = 'run("import time", sys.argv[1], output="o.ipynb", timeout=2, grace=0.3)'
    process = start(program, tmp_path, source)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert 'the cell took longer than its time limit, 2 s, and ignores that: this process ends' in errors
    assert status(tmp_path / 'o.ipynb') == ['completed', 'failed']


def test_a_cell_that_lets_no_other_thread_run_ends_too(tmp_path):
    process = start('run("sum(range(10 ** 15))", timeout=0.1, grace=0.1)', tmp_path)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert 'Timeout (' in errors


@pytest.mark.parametrize('engine', ENGINES)
def test_what_a_cell_prints_beyond_the_limit_is_left_out_with_a_note(engine):
    execution = run(
        'for i in range(2000): print("x" * 99)', 'print("fine")', output_limit=10_000, engine=engine
    )
    text, fine = said(execution)
    assert text.startswith('x' * 99)
    assert text.endswith(
        '190,000 bytes of output are left out: a cell keeps 10,000. '
        'Raise output_limit in [notebook] of settings.ini\n'
    )
    assert len(text) < 10_200
    assert fine == 'fine\n'


@pytest.mark.parametrize('engine', ENGINES)
def test_displays_beyond_the_limit_are_left_out_whole(engine):
    execution = run('for size in 10, 2000, 20: display("y" * size)\n1 / 0', output_limit=1000, engine=engine)
    (cell,) = (c for c in execution.notebook['cells'] if c['cell_type'] == 'code')
    kinds = [output['output_type'] for output in cell['outputs']]
    assert kinds == ['display_data', 'display_data', 'error', 'stream']
    assert '2,002 bytes of output are left out' in said(execution)[0]


def test_clear_output_gives_room_for_more():
    first = 'from IPython.display import clear_output'
    again = 'for i in range(50):\n    clear_output(wait=True)\n    print("z" * 100)'
    assert said(run(first, again, output_limit=150)) == ['', 'z' * 100 + '\n']


def test_a_cell_that_prints_for_ever_fills_no_memory(tmp_path):
    program = """
done = run('while True: print("x" * 1000)', timeout=3, output_limit=1000000)
print(done.error.name, len(done.notebook['cells'][2]['outputs'][0]['text']))
peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
print(int(peak.split()[1]) < 400000)  # kB
"""
    out, errors = start(program, tmp_path).communicate(timeout=PATIENCE)
    assert out.split() == ['CellTimeout', '1000000', 'True'], errors


@pytest.mark.parametrize('engine', ENGINES)
def test_outputs_are_heard_while_they_come(engine):
    heard = []
    source = 'import sys, time\nprint("one", flush=True)\nprint("two", file=sys.stderr, flush=True)\n6 * 7'
    execution = run(source, log_output=lambda name, text: heard.append((name, text)), engine=engine)
    assert execution.error is None
    assert ''.join(text for name, text in heard if name == 'stdout') == 'one\n42\n'
    assert ''.join(text for name, text in heard if name == 'stderr') == 'two\n'


def test_what_a_listener_prints_goes_to_the_terminal_and_not_into_the_notebook(tmp_path):
    program = """
def hear(name, text):
    print(name, repr(text), file=sys.stderr if name == 'stderr' else sys.stdout, flush=True)

source = 'import os, sys; os.system("echo two"); os.write(1, b"three"); print("four", file=sys.stderr)'
done = run('print("one")', source, log_output=hear)
print([[output['text'] for output in cell['outputs']] for cell in done.notebook['cells']])
"""
    out, errors = start(program, tmp_path).communicate(timeout=PATIENCE)
    *heard, kept = out.splitlines()
    assert heard[:2] == ["stdout 'one'", r"stdout '\n'"], errors
    assert 'two' in ''.join(heard[2:]) and 'three' in ''.join(heard[2:])
    assert "stderr 'four'" in errors
    assert kept == str([['one\n'], ['two\nthree', 'four\n']])


def test_a_listener_whose_terminal_is_closed_stops_nothing():
    def closed(name, text):
        raise BrokenPipeError

    for engine in ENGINES:
        assert said(run('print(1)', 'print(2)', log_output=closed, engine=engine)) == ['1\n', '2\n']


@pytest.mark.parametrize('engine', ENGINES)
def test_a_killed_process_leaves_the_cells_that_ended(tmp_path, engine):
    sources = '["print(1)", "import time; time.sleep(3600)"]'
    process = start(f'run(*{sources}, output="o.ipynb", engine=sys.argv[1])', tmp_path, engine)
    wait_for(tmp_path / 'o.ipynb', process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    cells = json.loads((tmp_path / 'o.ipynb').read_text())['cells']
    assert [cell['metadata']['papermill']['status'] for cell in cells] == ['completed', 'running']
    assert [len(cell['outputs']) for cell in cells] == [1, 0]


SAVES = """
import itertools
from mlops_nb.notebooks import write_notebook

about = {'metadata': {}, 'nbformat': 4, 'nbformat_minor': 4}
for letter in itertools.cycle('ab'):
    cell = {'cell_type': 'markdown', 'metadata': {}, 'source': letter * 20_000_000}
    write_notebook({**about, 'cells': [cell]}, 'o.ipynb')
"""


def test_a_process_killed_in_the_middle_of_a_save_leaves_a_whole_notebook(tmp_path):
    for _ in range(10):
        process = subprocess.Popen([sys.executable, '-c', SAVES], cwd=tmp_path, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not ((tmp_path / 'o.ipynb').exists() and list(tmp_path.glob('.o.ipynb.*'))):
            assert process.poll() is None and time.monotonic() < deadline  # it never wrote beside the file
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (cell,) = read_notebook(tmp_path / 'o.ipynb').cells
        assert len(cell['source']) == 20_000_000 and len(set(cell['source'])) == 1
        for half in tmp_path.glob('.o.ipynb.*'):
            half.unlink()


AWAITS = 'import asyncio; from pathlib import Path; Path("ready").touch(); await asyncio.sleep(600)'
RUNS = 'import subprocess; subprocess.run("touch ready; sleep 600", shell=True)'


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('source', [AWAITS, RUNS, '!touch ready; sleep 600'])
def test_ctrl_c_saves_the_notebook_wherever_it_is(tmp_path, engine, source):
    program = 'run(sys.argv[2], "never", output="o.ipynb", engine=sys.argv[1]).check()'
    process = start(program, tmp_path, engine, source)
    wait_for(tmp_path / 'ready', process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert 'KeyboardInterrupt' in errors
    assert status(tmp_path / 'o.ipynb') == ['failed', 'pending']


@pytest.mark.parametrize('engine', ENGINES)
def test_the_command_ends_with_130_after_ctrl_c(tmp_path, engine):
    (tmp_path / 'in.ipynb').write_text(json.dumps(notebook(AWAITS).content))
    command = [COMMAND, 'exec', 'in.ipynb', '-o', 'out.ipynb', '--engine', engine]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(tmp_path / 'ready', process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert status(tmp_path / 'out.ipynb') == ['failed']


def test_a_full_disk_leaves_the_earlier_file_and_is_named(tmp_path):
    folder = tmp_path / 'small'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], capture_output=True)
    if mounted.returncode:
        pytest.skip('mounting is not permitted here')
    try:
        output = folder / 'o.ipynb'
        run('print("earlier")', output=output)
        before = output.read_bytes()
        with pytest.raises(OSError, match='No space left'):
            run('print("x" * 100_000)', output=output)
        assert output.read_bytes() == before
        assert [path.name for path in folder.iterdir()] == ['o.ipynb']
    finally:
        subprocess.run(['umount', folder], check=True)
