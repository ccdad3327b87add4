"""What running notebooks does to their outputs and to the process that runs them."""

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import nbformat
import pytest

from mlops_nb.core import NotebookError, NotFoundError, UsageError
from mlops_nb.notebooks import Notebook, read_notebook, run_notebook
from mlops_nb.notebooks.execute import ERROR_TAG

pytestmark = pytest.mark.filterwarnings('ignore:To exit')  # IPython's, to a cell that leaves

PYTHON = {'kernelspec': {'name': 'python3', 'language': 'python', 'display_name': 'Python 3'}}


def code(source, *tags):
    return nbformat.v4.new_code_cell(source, metadata={'tags': list(tags)} if tags else {})


def notebook(*cells, metadata=None, path='x.ipynb'):
    cells = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    return Notebook(Path(path), nbformat.v4.new_notebook(cells=cells, metadata=metadata or PYTHON))


def outputs(execution):
    "The outputs of each cell, without counts."
    return [
        [{k: v for k, v in o.items() if k != 'execution_count'} for o in cell.get('outputs', ())]
        for cell in execution.notebook['cells']
    ]


def texts(execution):
    return [''.join(o.get('text', '') for o in cell) for cell in outputs(execution)]


def run(*cells, **options):
    return run_notebook(notebook(*cells), **options)


PROGRAM = """
import sys
from pathlib import Path
from mlops_nb.notebooks import run_notebook
from mlops_nb.notebooks import as_notebook

def run(*sources, **options):
    cells = [{'cell_type': 'code', 'source': source} for source in sources]
    return run_notebook(as_notebook({'nbformat': 4, 'cells': cells}, Path('x.ipynb')), **options)
"""


def python(source, folder, **options):
    "Run a program of its own, in which there is `run`."
    command = [sys.executable, '-c', PROGRAM + source]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, **options)


@pytest.fixture
def saved(tmp_path):
    "Write a notebook into a folder."

    def save(*cells, name='in.ipynb'):
        nbformat.write(nbformat.from_dict(notebook(*cells).content), tmp_path / name)
        return tmp_path / name

    return save


SHOWS = (
    'x = 6\nprint("six"); print("seven", end=" ")\nx * 7',
    'import sys; print("two", file=sys.stderr)',
    'from IPython.display import HTML, Markdown, clear_output, display, update_display\n'
    'display(HTML("<b>a</b>"), {"b": 1})\nhandle = display("0 %", display_id="bar")',
    'update_display("100 %", display_id="bar")',
    'display("again", display_id="bar")',
    'print("gone"); clear_output(); print("gone too"); clear_output(wait=True); print("stays")',
    '%who_ls',
    'import asyncio\nawait asyncio.sleep(0)\n"awaited"',
    'task = asyncio.create_task(asyncio.sleep(0, "later"))',
    'await task',
    'class Odd:\n    def _repr_html_(self): return "<i>odd</i>"\n    def __repr__(self): return "odd"\nOdd()',
    'class Png:\n    def _repr_png_(self): return b"\\x89PNG"\n    def __repr__(self): return "png"\nPng()',
    'display({"application/json": {"a": [1, 2.5, None]}, "text/plain": "j"}, raw=True)',
    'get_ipython().__class__.__name__',
    '1; 2\n3;',
    '__name__, sys.modules["__main__"].x',
    'def f(): return undefined',
)


FAILS = (
    'raise ValueError("no")',
    'if 1:\nprint(2)',
    'import asyncio\nawait asyncio.sleep(0)\n1 / 0',
    'input("Your name?")',
    'raise SystemExit(3)',
    'class Bad(Exception):\n    def __str__(self): return "bad é"\nraise Bad',
    'class Worse:\n    def __repr__(self): return 1 / 0\nWorse()',
    'x = (',
)


def test_outputs_and_errors_are_those_of_a_kernel():
    cells = [*SHOWS, *(code(source, 'raises-exception') for source in FAILS), '"end"']
    ours, theirs = run(*cells), run(*cells, engine='kernel')
    assert (ours.error, theirs.error) == (None, None)
    for source, one, other in zip(cells, outputs(ours), outputs(theirs), strict=True):
        assert merged(one) == merged(other), source


def merged(cell):
    "Outputs with text in a row put together, as no kernel does, and without what a process has of its own."
    found = []
    for output in cell:
        last = found[-1] if found else {}
        if output['output_type'] == 'stream' and output.get('name') == last.get('name'):
            last['text'] += output['text']
        elif (
            output.get('name') != 'stderr' or 'To exit' not in output['text']
        ):  # a warning, which pytest takes
            found.append({k: v for k, v in output.items() if k != 'traceback'})
    for output in found:
        if 'evalue' in output:
            output['evalue'] = re.sub(r'\(.*, line', '(FILE, line', output['evalue'])
    return found


@pytest.mark.parametrize('engine', ['in-process', 'kernel'])
def test_a_notebook_stops_at_the_first_error_and_marks_it(engine):
    execution = run('"before"', 'print("partly")\n1 / 0', '"never"', engine=engine)
    assert (execution.error.name, execution.error.why, execution.error.cell) == (
        'ZeroDivisionError',
        'raised',
        2,
    )
    assert 'division by zero' in ''.join(execution.error.traceback)
    cells = execution.notebook['cells']
    assert [ERROR_TAG in c['metadata'].get('tags', ()) for c in cells] == [True, False, True, False, False]
    status = [cells[i]['metadata']['papermill']['status'] for i in (1, 3, 4)]
    assert status == ['completed', 'failed', 'pending']
    assert [o['output_type'] for o in outputs(execution)[3]] == ['stream', 'error']


def test_text_keeps_the_order_in_which_streams_programs_and_displays_came():
    (cell,) = outputs(
        run(
            'import os, subprocess, sys\n'
            'print(1)\nos.write(1, b"2\\n")\nprint(3)\nsubprocess.run(["echo", "4"])\ndisplay(5)\n'
            'os.system("echo 6")\nprint(7, file=sys.stderr)\nos.write(2, b"8\\n")\n'
            'print(9)\nos.getpid() > 0'
        )
    )
    said = [o.get('text') or o['data']['text/plain'] for o in cell]
    assert said == ['1\n2\n3\n4\n', '5', '6\n', '7\n8\n', '9\n', 'True']


def test_a_megabyte_of_prints_and_of_bytes_arrives_complete():
    (cell,) = texts(run('import os\nfor i in range(20000): print("x" * 50)\n_ = os.system("seq 100000")'))
    assert cell.count('x' * 50 + '\n') == 20000
    assert cell.endswith('\n99999\n100000\n')


def test_threads_and_forked_children_are_heard():
    (cell,) = texts(
        run(
            'import os, threading\n'
            't = threading.Thread(target=print, args=("thread",)); t.start(); t.join()\n'
            'if (child := os.fork()) == 0:\n    print("child")\n    os._exit(0)\n_ = os.waitpid(child, 0)'
        )
    )
    assert sorted(cell.split()) == ['child', 'thread']


def test_tags_say_which_cells_run_and_which_may_fail():
    execution = run(
        nbformat.v4.new_markdown_cell('1 / 0'),
        code('1 / 0', 'skip-execution'),
        code('1 / 0', 'raises-exception'),
        ' \n',
        '"end"',
    )
    assert execution.error is None
    kinds = [[o['output_type'] for o in cell] for cell in outputs(execution)]
    assert kinds == [[], [], ['error'], [], ['execute_result']]
    assert [c.get('execution_count') for c in execution.notebook['cells']] == [None, None, 1, None, 2]


def test_leaving_early_is_not_an_error_unless_it_says_so():
    for way in 'raise SystemExit', 'import sys; sys.exit(0)', 'exit()', 'quit':
        assert run(way, '1 / 0').error is None
    assert run('raise SystemExit("no rows")').error.value == 'no rows'


def test_the_executed_notebook_is_what_papermill_writes(saved, tmp_path):
    path = saved(code('depth: int = 6', 'parameters'), 'depth', '1 / 0', '"never"')
    command = [sys.executable, '-m', 'papermill', 'in.ipynb', 'theirs.ipynb', '-p', 'depth', '7']
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1
    theirs = nbformat.read(tmp_path / 'theirs.ipynb', 4)
    for engine in 'in-process', 'kernel':
        with pytest.raises(NotebookError, match=r'cell 3:line 1: ZeroDivisionError'):
            run_notebook(path, {'depth': '7'}, output=tmp_path / 'ours.ipynb', engine=engine).check()
        ours = nbformat.read(tmp_path / 'ours.ipynb', 4)
        nbformat.validate(ours)
        assert about(ours) == about(theirs)


def about(executed):
    "What tools that know papermill read from an executed notebook."
    top = executed.metadata.papermill
    cells = [
        (
            cell.source.strip(),
            cell.metadata.get('tags', []),
            sorted(cell.metadata.get('papermill', {})),
            cell.metadata.get('papermill', {}).get('status') in ('failed', 'completed'),
            cell.metadata.get('papermill', {}).get('exception'),
            [output.output_type for output in cell.get('outputs', ())],
        )
        for cell in executed.cells
    ]
    return sorted(top), top.parameters, top.exception, executed.metadata.language_info.name, cells


def test_the_output_of_a_run_can_be_run_again(saved, tmp_path):
    path, first, second = saved(code('x = 1', 'parameters'), '1 / (x - 1)'), *map(tmp_path.joinpath, 'ab')
    assert run_notebook(path, output=first).error
    again = run_notebook(first, {'x': 2}, output=second)
    assert again.error is None
    assert len(again.notebook['cells']) == 3
    assert second.read_bytes() == again.to_bytes()
    assert run_notebook(first, {'x': 3}, output=first).error is None


def test_what_is_wrong_beforehand_leaves_no_output(saved, tmp_path):
    path, output = saved(code('depth: int', 'parameters')), tmp_path / 'out.ipynb'
    for values, fault in (
        ({}, 'no value'),
        ({'depth': 'six'}, 'declared int'),
        ({'detph': 6}, "Did you mean 'depth'"),
    ):
        with pytest.raises(UsageError, match=fault):
            run_notebook(path, values, output=output)
    with pytest.raises(UsageError, match='kernel'):
        run_notebook(path, {'depth': 6}, output=output, engine='kernal')
    with pytest.raises(NotFoundError, match='found no notebook'):
        run_notebook(tmp_path / 'no.ipynb', output=output)
    with pytest.raises(NotFoundError, match='working directory'):
        run_notebook(path, {'depth': 6}, output=output, cwd=tmp_path / 'no')
    assert not output.exists()


def test_a_kernel_that_is_not_installed_is_named(tmp_path):
    odd = notebook('1', metadata={'kernelspec': {**PYTHON['kernelspec'], 'name': 'pyhton3'}})
    with pytest.raises(UsageError, match=r"'pyhton3', which is not installed.*Did you mean 'python3'"):
        run_notebook(odd, engine='kernel')
    assert run_notebook(odd).error is None


def test_a_notebook_in_another_language_needs_a_kernel():
    with pytest.raises(UsageError, match="engine='kernel'"):
        run_notebook(notebook('1', metadata={'language_info': {'name': 'R'}}))


def test_the_notebooks_folder_and_the_given_ones_are_on_the_path(saved, tmp_path):
    (tmp_path / 'beside_it.py').write_text('x = 1')
    (tmp_path / 'lib').mkdir()
    (tmp_path / 'lib' / 'in_lib.py').write_text('x = 2')
    path = saved(
        'import beside_it, in_lib, os\nprint(beside_it.x + in_lib.x, os.getcwd(), os.environ["STEP"])'
    )
    for engine in 'in-process', 'kernel':
        (tmp_path / engine).mkdir()
        options = {'path': [tmp_path / 'lib'], 'cwd': tmp_path / engine, 'env': {'STEP': 'train'}}
        execution = run_notebook(path, engine=engine, **options).check()
        assert texts(execution) == [f'3 {tmp_path / engine} train\n']
    del sys.modules['in_lib']


def state():
    "What a notebook may change in this process."
    handlers = {n: signal.getsignal(n) for n in signal.valid_signals()}
    streams = sys.stdin, sys.stdout, sys.stderr, sys.displayhook, sys.excepthook, sys.argv
    log = logging.getLogger()
    return (
        [list(sys.path), dict(os.environ), os.getcwd(), sys.getrecursionlimit(), sys.modules['__main__']],
        [set(vars(__builtins__ if not isinstance(__builtins__, dict) else __import__('builtins')))],
        [handlers, streams, list(log.handlers), log.level, log.manager.disable, threading.active_count()],
        [os.fstat(fd).st_ino for fd in (0, 1, 2)],
        len(os.listdir('/proc/self/fd')),
    )


def test_the_process_is_as_it_was():
    run('1')
    before = state()
    changes = run(
        'import builtins, getpass, logging, os, signal, sys, warnings',
        'os.chdir("/"); os.environ["X"] = "1"; del os.environ["PATH"]',
        'sys.path[:] = []; sys.argv.append("x"); sys.setrecursionlimit(3000)',
        'builtins.x = 1; builtins.sum = None; getpass.getpass = None; input = None',
        'import io; sys.stdout = sys.stderr = io.StringIO()',
        'sys.displayhook = sys.excepthook = sys.ps1 = None',
        'for n in signal.SIGINT, signal.SIGTERM, signal.SIGALRM: signal.signal(n, signal.SIG_IGN)',
        'logging.basicConfig(level=1); logging.disable(50); warnings.simplefilter("error")',
        'os.close(1); os.open("/dev/null", os.O_WRONLY)',
        'import asyncio; task = asyncio.create_task(asyncio.sleep(60))',
        '1 / 0',
    )
    assert changes.error.name == 'ZeroDivisionError'
    assert state() == before


def test_a_notebook_may_remove_the_folder_that_it_is_in():
    before = os.getcwd()
    gone = 'import os, tempfile\nfolder = tempfile.mkdtemp()\nos.chdir(folder)\nos.rmdir(folder)'
    assert run(gone, 'x = 1').error is None and os.getcwd() == before


def test_a_notebook_sees_its_own_streams_and_log_in_every_cell():
    execution = run(
        'import logging, sys\nlogging.basicConfig(level="INFO", format="%(message)s")\n'
        'class Loud:\n    def __init__(self, old): self.old = old\n'
        '    def write(self, text): return self.old.write(text.upper())\n    def flush(self): pass\n'
        'sys.stdout = Loud(sys.stdout)',
        'print("loud"); logging.info("logged")',
        progress=lambda done, total: logging.getLogger().warning('progress'),
    )
    assert texts(execution) == ['', 'LOUD\nlogged\n']


def test_progress_is_not_an_output_of_the_notebook(capfd):
    execution = run('print(1)', 'print(2)', progress=lambda done, total: print(f'{done} of {total}'))
    assert texts(execution) == ['1\n', '2\n']
    assert capfd.readouterr().out == '0 of 2\n1 of 2\n2 of 2\n'


def test_a_notebook_reads_nothing_of_what_is_meant_for_its_caller(tmp_path):
    source = """
done = run('import os, subprocess, sys; print([sys.stdin.read(), os.read(0, 9)]); subprocess.run("cat")')
print(done.notebook['cells'][0]['outputs'][0]['text'], sys.stdin.read())
"""
    done = python(source, tmp_path, input='for the caller')
    assert done.stdout == "['', b'']\n for the caller\n", done.stderr


class Big:
    "Something that is noticed when it goes."


def test_nothing_of_a_notebook_stays_in_memory(monkeypatch):
    monkeypatch.setattr('builtins.Big', Big, raising=False)
    gone = []
    monkeypatch.setattr('builtins.noticed', lambda one: gone.append(weakref.ref(one)), raising=False)
    for last in '1 / 0', 'one', 'def f(): return one\nf()':
        run('one = Big(); noticed(one); other = [one]', last)
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]


def test_variables_are_kept_when_asked_for():
    execution = run('x, y = [1, 2], 3', '1 / 0', 'z = 4', keep=['x', 'z'])
    assert execution.values == {'x': [1, 2]}


def test_figures_appear_below_their_cell_and_leave_nothing_behind():
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use('svg')
    ours, width = plt.figure(), plt.rcParams['lines.linewidth']
    cells = (
        'import matplotlib.pyplot as plt\nplt.rcParams["lines.linewidth"] = 9\nplt.plot([1, 2]);',
        'plt.get_fignums()',
        'fig, ax = plt.subplots(); ax.plot([2, 1]); fig',
    )
    for _ in range(2):
        plot, none, figure = outputs(run(*cells))
        assert [list(o['data']) for o in plot] == [['text/plain', 'image/png']]
        assert none[0]['data']['text/plain'] == '[]'
        assert ['image/png' in o['data'] for o in figure] == [True, True]
    assert plt.get_fignums() == [ours.number]
    assert (plt.get_backend(), plt.rcParams['lines.linewidth']) == ('svg', width)
    assert 'SVG' in type(plt.figure().canvas).__name__
    plt.close()
    plt.close(ours)


def test_a_notebook_that_draws_is_the_one_that_imports_matplotlib(tmp_path):
    source = """
heavy = 'matplotlib', 'numpy', 'pandas', 'papermill', 'nbformat', 'jsonschema', 'nbclient'
run('print(1)')
print([name for name in heavy if name in sys.modules])
for _ in range(2):
    done = run('import matplotlib.pyplot as plt; plt.plot([1])', 'plt.get_backend()[-6:]').check()
    shown, said = done.notebook['cells']
    print([list(output['data']) for output in shown['outputs']], said['outputs'][0]['data'])
print(sys.modules['matplotlib.pyplot'].get_fignums())
"""
    done = python(source, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert (first, last) == ('[]', '[]')
    assert second == third
    assert "['text/plain', 'image/png']" in second


INNER = f"""{PROGRAM}
x = 1
done = run('import asyncio; await asyncio.sleep(0); x = 2; print(x)')
print(done.notebook['cells'][0]['outputs'][0]['text'].strip(), x)
await asyncio.sleep(0)
failed = run('1 / 0').error.name
"""


def test_a_notebook_can_run_a_notebook():
    for engine in 'in-process', 'kernel':
        cells = 'import asyncio', INNER, 'failed, x, get_ipython().user_ns["x"]'
        execution = run(*cells, engine=engine).check()
        assert texts(execution)[1] == '2 1\n'
        assert outputs(execution)[2][0]['data']['text/plain'] == "('ZeroDivisionError', 1, 1)"


@pytest.mark.parametrize(
    'source',
    [
        'import time; time.sleep(60)',
        'while True: pass',
        'import asyncio; await asyncio.sleep(60)',
        'import time\nwhile True:\n    try: time.sleep(60)\n    except Exception: pass',
        'import time\ntry: time.sleep(60)\nexcept BaseException: pass',
        'import time\nwhile True:\n    try: time.sleep(60)\n    except: time.sleep(60)',
        'import asyncio\ntry: await asyncio.sleep(60)\nexcept BaseException: pass',
        'import threading; threading.Event().wait(60)',
        '!sleep 60',
        '%%bash\nsleep 60',
        'import subprocess; subprocess.run(["sleep", "60"])',
        'import select; select.select([], [], [], 60)',
    ],
)
def test_a_cell_that_takes_too_long_is_stopped(source):
    execution = run('"before"', source, '"never"', timeout=1)
    assert (execution.error.why, execution.error.name) == ('timeout', 'CellTimeout')
    assert 'time limit, 1 s' in execution.error.value
    assert [o['output_type'] for o in outputs(execution)[3]][-1] == 'error'
    assert outputs(execution)[4] == []


def test_a_kernel_that_takes_too_long_or_dies_is_an_error_of_the_cell():
    late = run('import time; time.sleep(60)', '"never"', timeout=0.5, engine='kernel')
    assert (late.error.why, late.error.name) == ('timeout', 'CellTimeout')
    dead = run('print("last words", flush=True)', 'import os; os._exit(1)', engine='kernel')
    assert (dead.error.why, dead.error.name) == ('died', 'DeadKernelError')
    assert texts(dead)[1] == 'last words\n'


def test_a_cell_that_ignores_its_time_limit_ends_the_process_and_is_kept(tmp_path):
    source = """
stubborn = '''
import time
while True:
    try: time.sleep(60)
    except BaseException: pass
'''
run('print(1)', stubborn, output='out.ipynb', timeout=1)
"""
    done = python(source, tmp_path)
    assert done.returncode == 1
    assert 'time limit, 1 s, and ignores that: this process ends' in done.stderr
    cells = read_notebook(tmp_path / 'out.ipynb').cells
    assert [o['output_type'] for c in cells for o in c.get('outputs', ())] == ['stream', 'error']


@pytest.mark.parametrize('limit', [10, 1000])
def test_an_alarm_of_somebody_else_stays_set(limit):
    def theirs(number, frame):
        raise AssertionError('rang too early')

    def set_alarm(done, total):
        if done == 0:
            signal.setitimer(signal.ITIMER_REAL, 500)

    before = signal.signal(signal.SIGALRM, theirs)
    try:
        assert run('1', timeout=limit, progress=set_alarm).error is None
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
        assert signal.getsignal(signal.SIGALRM) is theirs
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# a signal that comes just before one long sleep begins is only seen when that ends, in plain Python, too
NAPS = 'import time; ready()\nfor _ in range(600): time.sleep(0.1)'


@pytest.mark.parametrize(
    ('engine', 'source'),
    [
        ('in-process', NAPS),
        ('in-process', '!touch ready; sleep 60'),
        ('kernel', NAPS),
    ],
)
def test_ctrl_c_ends_the_notebook_and_keeps_it(tmp_path, engine, source):
    program = f"""{PROGRAM}
first = "from pathlib import Path\\ndef ready(): Path('ready').touch()"
run(first, sys.argv[1], 'print(3)', output='out.ipynb', engine=sys.argv[2]).check()
"""
    command = [sys.executable, '-c', program, source, engine]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not (tmp_path / 'ready').exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=600)[1]
    assert 'KeyboardInterrupt' in errors
    cells = read_notebook(tmp_path / 'out.ipynb').cells
    status = [c['metadata']['papermill']['status'] for c in cells if 'papermill' in c['metadata']]
    assert status == ['completed', 'failed', 'pending']
    (failed,) = (c for c in cells if c['metadata'].get('papermill', {}).get('status') == 'failed')
    assert failed['outputs'][-1]['ename'] == 'KeyboardInterrupt'


def test_in_process_belongs_to_the_main_thread():
    errors = []

    def elsewhere():
        try:
            run('1')
        except UsageError as e:
            errors.append(str(e))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "engine='kernel'" in errors[0]


def papermill(folder, *arguments):
    command = [sys.executable, '-m', 'papermill', 'in.ipynb', 'out.ipynb', '--engine', 'mlops-nb', *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def test_papermill_runs_notebooks_with_our_engine(saved, tmp_path):
    (tmp_path / 'beside_it.py').write_text('x = 1')
    saved(
        code('from datetime import date\nmonth: date = date(2013, 1, 1)\ndepth: int = 6', 'parameters'),
        'import beside_it, os\nprint(month.year, depth, os.getpid())',
        'import matplotlib.pyplot as plt; plt.plot([1, 2]);',
    )
    done = papermill(tmp_path, '-p', 'month', '2013-07-01', '-p', 'depth', '8')
    assert done.returncode == 0, done.stderr
    assert 'Executing: 100%' in done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    assert executed.cells[2].outputs[0].text.startswith('2013 8')
    assert executed.cells[3].outputs[-1].data['image/png']
    assert {c.metadata.papermill.status for c in executed.cells} == {'completed'}


def test_papermill_with_our_engine_says_where_a_notebook_failed(saved, tmp_path):
    saved('print(1)', '1 / 0', 'print(3)')
    done = papermill(tmp_path, '--stdout-file', 'said.txt', '--log-output')
    assert done.returncode == 1
    assert 'Executing Cell 2' in done.stderr
    assert 'ZeroDivisionError: division by zero' in done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    assert 'papermill-error-cell' in executed.cells[0].source
    status = [c.metadata.papermill.status for c in executed.cells if 'papermill' in c.metadata]
    assert status == ['completed', 'failed', 'pending']
    assert (tmp_path / 'said.txt').read_text() == '1\n'


def test_papermill_with_our_engine_refuses_values_that_do_not_fit(saved, tmp_path):
    saved(code('depth: int = 6', 'parameters'), 'print(depth)')
    done = papermill(tmp_path, '-p', 'detph', '8')
    assert done.returncode == 1
    assert "'detph' is not declared in in.ipynb; it declares depth. Did you mean 'depth'?" in done.stderr
    assert not (tmp_path / 'out.ipynb').exists()
