"""A notebook that fails waits with what it has computed, and goes on once it is mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import COMMAND
from jupyter_client.blocking.client import BlockingKernelClient
from small import Run, cell, write_notebook

from mlops_nb.notebooks.hold import Held, all_held

PATIENCE = 600  # seconds, on a machine that has a lot to do; what hangs does so for longer
COUNTS = (
    "from pathlib import Path\nwith (root / 'count').open('a') as file: file.write('x')\nrows = [1, 2, 3]"
)
FAILS = 'if depth < 9: raise ValueError(f"depth is {depth}")'
SAVES = (
    'from mlops_nb import step\nstep.save(rows=[depth * row for row in rows])\n'
    'step.log(rows=len(rows))\nprint("saved", depth)'
)


def write_train(project: Path, *sources: str) -> Path:
    "A notebook that computes for an hour, and then does this."
    first = cell('depth: int = 4  # levels', 'parameters')
    where = cell(f'from pathlib import Path\nroot = Path({str(project)!r})')
    return write_notebook(project / 'nbs' / 'train.ipynb', first, where, cell(COUNTS), *map(cell, sources))


def counted(project: Path) -> int:
    "How often the cell that takes an hour has run."
    return len((project / 'count').read_text())


Start = Callable[..., 'subprocess.Popen[str]']


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    "Starts commands; what still runs at the end is ended."
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(('MLOPS_NB_', 'METAFLOW_'))}
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
        process = subprocess.Popen([COMMAND, *words], cwd=project, env=clean, start_new_session=True, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def waiting(project: Path, process: subprocess.Popen[str], *, others: int = 0) -> Held:
    "The notebook that waits, as soon as it does."
    end = time.monotonic() + PATIENCE
    while len(found := all_held(project)) <= others:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.05)
    return found[-1]


def runs(mlops: Run, project: Path) -> list[dict[str, object]]:
    "The project's runs."
    return json.loads(mlops('runs', 'list', '--json', folder=project).stdout)


def test_a_mended_notebook_goes_on_from_the_cell_that_failed(project: Path, mlops: Run, start: Start) -> None:
    write_train(project, FAILS, SAVES)
    process = start('run', 'nbs/train.ipynb', '--depth', '5', '--hold')
    held = waiting(project, process)
    again = mlops('resume', folder=project)
    assert again.returncode == 1 and 'ValueError: depth is 5' in again.stdout
    write_train(project, FAILS.replace('9', '1'), SAVES)
    done = mlops('resume', held.id, folder=project)
    assert done.returncode == 0 and 'saved 5' in done.stdout and held.run in done.stdout
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    assert f'mlops-nb resume {held.id}' in said and 'external_connection_dir' in said
    assert counted(project) == 1
    (run,) = runs(mlops, project)
    assert (run['status'], run['params.depth'], run['metrics.rows']) == ('done', 5, 3)
    page = mlops('runs', 'show', str(run['run']), '--folder', 'pages', folder=project)
    (html,) = (project / 'pages').glob('*.html')
    assert page.returncode == 0 and 'saved 5' in html.read_text() and 'depth is 5' not in html.read_text()
    assert not list((project / '.mlops_nb' / 'held').iterdir())


def test_the_steps_behind_a_held_one_follow(project: Path, mlops: Run, start: Start) -> None:
    train = write_train(project, FAILS, 'from mlops_nb import step\nstep.save(model_size=depth)')
    process = start('flow', 'train', 'run', '--hold')
    waiting(project, process)
    assert mlops('resume', folder=project).returncode == 1
    train.write_text(train.read_text().replace('depth < 9', 'depth < 1'))
    assert mlops('resume', folder=project).returncode == 0
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    assert runs(mlops, project)[0]['metrics.size'] == 4


def test_what_ran_before_must_be_as_it_was_or_runs_again(project: Path, mlops: Run, start: Start) -> None:
    write_train(project, FAILS, SAVES)
    process = start('run', 'nbs/train.ipynb', '--depth', '5', '--hold')
    waiting(project, process)
    edited = write_train(project, FAILS.replace('9', '1'), SAVES)
    edited.write_text(edited.read_text().replace('[1, 2, 3]', '[1, 2]'))
    refused = mlops('resume', folder=project)
    assert (
        refused.returncode == 2 and 'cell 3 changed' in refused.stderr and '--from-changed' in refused.stderr
    )
    assert counted(project) == 1
    done = mlops('resume', '--from-changed', folder=project)
    assert done.returncode == 0, done.stderr
    process.communicate(timeout=PATIENCE)
    assert counted(project) == 2 and runs(mlops, project)[0]['metrics.rows'] == 2


def test_prose_may_change_and_a_failing_cell_may_go(project: Path, mlops: Run, start: Start) -> None:
    path = write_train(project, FAILS, SAVES)
    process = start('run', 'nbs/train.ipynb', '--hold')
    waiting(project, process)
    content = json.loads(path.read_text())
    del content['cells'][3]
    content['cells'].insert(0, {'cell_type': 'markdown', 'metadata': {}, 'source': '# Train', 'id': 'prose'})
    path.write_text(json.dumps(content))
    assert mlops('resume', folder=project).returncode == 0
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and counted(project) == 1


def test_a_breakpoint_waits_before_its_cell(project: Path, mlops: Run, start: Start) -> None:
    path = write_train(project, 'rows.append(4)', SAVES)
    content = json.loads(path.read_text())
    content['cells'][3]['metadata']['tags'] = content['cells'][4]['metadata']['tags'] = ['breakpoint']
    path.write_text(json.dumps(content))
    process = start('run', 'nbs/train.ipynb', '--hold')
    held = waiting(project, process)
    assert held.error is None and evaluated(held, 'rows') == '[1, 2, 3]'
    next_one = mlops('resume', folder=project)
    assert next_one.returncode == 1 and 'waits at a breakpoint' in next_one.stdout
    assert evaluated(held, 'rows') == '[1, 2, 3, 4]'
    assert mlops('resume', folder=project).returncode == 0
    process.communicate(timeout=PATIENCE)
    assert runs(mlops, project)[0]['metrics.rows'] == 4
    assert mlops('run', 'nbs/train.ipynb', folder=project).returncode == 0  # without --hold it is not one


ENDS = """
import asyncio, sys, tempfile, threading, time
from pathlib import Path
from types import SimpleNamespace
from mlops_nb.notebooks.hold import kernel_of
from mlops_nb.notebooks.resume import ask
from mlops_nb.notebooks.shell import notebook_shell

def slow(outlet):  # ipykernel's threads meet where they rarely do
    kind = type(outlet)
    made, close = vars(kind)['_event_pipe'].fget, outlet.io_loop.close

    def pipe(self):
        if threading.current_thread().name in ('Control', 'Chat'):
            time.sleep(0.2)
        return made(self)

    def close_slowly(all_fds=False):
        close(all_fds=all_fds)
        time.sleep(2)

    kind._event_pipe, outlet.io_loop.close = property(pipe), close_slowly

def chat(said, end):  # a thread of the notebook, which keeps the stream that it found
    while not end.is_set():
        said.write('.')

def hold(run):
    end = threading.Event()
    short = tempfile.mkdtemp(prefix='held-')
    with kernel_of(run, own=Path(short, 'k.json')) as app:
        slow(app.iopub_thread)
        threading.Thread(target=chat, name='Chat', args=(sys.stdout, end), daemon=True).start()
        app.kernel.start()
        note = SimpleNamespace(connection=f'{short}/k.json')
        asked = {'args': (note, 'shutdown_request'), 'kwargs': {'restart': False}}
        threading.Thread(target=ask, **asked, daemon=True).start()
        asyncio.get_event_loop().run_forever()
    end.set()

with notebook_shell('train.ipynb') as run:
    hold(run)
    hold(run)
"""


def test_its_end_waits_for_no_thread_that_waits_for_it() -> None:
    "Where they met, the run hung, or the sockets' library ended the process."
    done = subprocess.run([sys.executable, '-c', ENDS], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@contextmanager
def attached(held: Held) -> Iterator[BlockingKernelClient]:
    "As JupyterLab attaches: by the connection file."
    client = BlockingKernelClient(connection_file=held.connection)
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=600)
        yield client
    finally:
        client.stop_channels()


def evaluated(held: Held, expression: str) -> str:
    "What an expression is in the notebook that waits."
    with attached(held) as client:
        answer = client.execute('', user_expressions={'value': expression}, reply=True, timeout=PATIENCE)
        value = answer['content']['user_expressions']['value']
        return value['data']['text/plain'] if value['status'] == 'ok' else value['ename']


LISTS = """
import asyncio, sys
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

async def main():
    manager = AsyncMappingKernelManager(external_connection_dir=sys.argv[1])
    (kernel,) = manager.list_kernel_ids()
    client = manager.get_kernel(kernel).client()
    client.start_channels()
    await client.wait_for_ready(timeout=600)
    reply = await client.execute_interactive('print(rows)', timeout=600)
    client.stop_channels()

asyncio.run(main())
"""


def test_jupyter_attaches_to_a_notebook_that_waits_and_only_its_owner_may(
    project: Path, mlops: Run, start: Start
) -> None:
    drawing = 'import matplotlib.pyplot as plt\nplt.plot(rows)'
    write_train(project, drawing, FAILS, SAVES)
    process = start('run', 'nbs/train.ipynb', '--hold')
    held = waiting(project, process)

    connection = Path(held.connection)
    assert connection.stat().st_mode & 0o777 == 0o600
    assert Path(held.folder).stat().st_mode & 0o777 == 0o700
    about = json.loads(connection.read_text())
    assert about['transport'] == 'ipc' and about['key'] and about['kernel_name'] == 'held-python'
    assert [one.name for one in connection.parent.iterdir() if one.is_file()] == [connection.name]

    command = [sys.executable, '-c', LISTS, str(connection.parent)]  # as Jupyter's server does
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert '[1, 2, 3]' in done.stdout

    assert evaluated(held, 'rows') == '[1, 2, 3]' and evaluated(held, 'depth') == '4'
    assert (
        evaluated(held, '__name__') == "'__main__'"
        and evaluated(held, 'get_ipython().kernel is not None') == 'True'
    )
    shown: list[str] = []
    with attached(held) as client:
        client.execute_interactive(
            "import os; depth = 12; os.system('echo from outside'); print('printed'); plt.plot(rows); None",
            output_hook=lambda message: shown.append(str(message['content'])),
            timeout=PATIENCE,
        )
    told = ' '.join(shown)
    assert 'from outside' in told and 'printed' in told and 'image/png' in told
    assert mlops('resume', folder=project).returncode == 0
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said


def test_it_waits_no_longer_than_it_was_told(project: Path, start: Start) -> None:
    write_train(project, FAILS)
    process = start('run', 'nbs/train.ipynb', '--hold=0.0003')
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1 and 'ValueError: depth is 4' in said and not all_held(project)


def test_of_several_that_wait_one_is_asked_for_and_what_is_given_up_fails_with_what_it_showed(
    project: Path, mlops: Run, start: Start
) -> None:
    write_train(project, FAILS)
    processes = [start('run', 'nbs/train.ipynb', '--hold')]
    first = waiting(project, processes[0])
    processes.append(start('run', 'nbs/train.ipynb', '--depth', '5', '--hold'))
    second = waiting(project, processes[1], others=1)
    unclear = mlops('resume', folder=project)
    assert unclear.returncode == 2
    assert all(f'mlops-nb resume {one.id}' in unclear.stderr for one in (first, second))
    assert mlops('resume', second.id, '--stop', folder=project).returncode == 0
    said = processes[1].communicate(timeout=PATIENCE)[0]
    assert processes[1].returncode == 1 and 'ValueError: depth is 5' in said
    assert mlops('resume', '--stop', folder=project).returncode == 0  # there is one left
    said = processes[0].communicate(timeout=PATIENCE)[0]
    assert processes[0].returncode == 1 and 'ValueError: depth is 4' in said
    assert [run['status'] for run in runs(mlops, project)] == ['failed', 'failed']
    assert mlops('resume', folder=project).returncode == 2


def test_a_killed_one_is_gone_and_cleared_away(project: Path, mlops: Run, start: Start) -> None:
    write_train(project, FAILS)
    process = start('run', 'nbs/train.ipynb', '--hold')
    held = waiting(project, process)
    os.killpg(os.getpgid(held.process), signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    assert mlops('resume', folder=project).returncode == 2
    again = waiting(project, start('run', 'nbs/train.ipynb', '--hold'))
    assert again.id != held.id
    left = sorted(one.name for one in Path(again.folder).parent.iterdir())
    assert left == sorted([again.id, Path(again.connection).name])


SLOW = """
import time
(root / 'begun').touch()
while not (root / 'end').exists(): time.sleep(0.1)
"""


def begun(project: Path, going: subprocess.Popen[str]) -> None:
    "Wait until the slow cell runs."
    while not (project / 'begun').exists():
        assert going.poll() is None
        time.sleep(0.05)
    (project / 'begun').unlink()


def test_only_one_goes_on_at_a_time_and_ctrl_c_leaves_it_waiting(
    project: Path, mlops: Run, start: Start
) -> None:
    write_train(project, FAILS, SAVES)
    process = start('run', 'nbs/train.ipynb', '--hold')
    held = waiting(project, process)
    write_train(project, SLOW, SAVES)
    going = start('resume')
    begun(project, going)
    refused = mlops('resume', folder=project)
    assert refused.returncode == 1 and 'somebody who resumes' in refused.stderr
    os.kill(going.pid, signal.SIGINT)
    said = going.communicate(timeout=PATIENCE)[0]
    assert going.returncode in (1, 130), said
    assert evaluated(held, 'rows') == '[1, 2, 3]'
    going = start('resume')
    begun(project, going)
    (project / 'end').touch()
    going.communicate(timeout=PATIENCE)
    assert going.returncode == 0
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and counted(project) == 1


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['--hold=long'], 'number of hours'),
        (['--hold', '--', '--with', 'kubernetes'], 'only a step that runs here'),
    ],
)
def test_what_cannot_wait_is_refused(project: Path, mlops: Run, words: list[str], expected: str) -> None:
    write_train(project, FAILS)
    done = mlops('run', 'nbs/train.ipynb', *words, folder=project)
    assert done.returncode == 2 and expected in done.stderr


def test_a_kernel_of_its_own_cannot_wait(project: Path, mlops: Run) -> None:
    write_train(project, FAILS)
    done = mlops('run', 'nbs/train.ipynb', '--hold', folder=project, MLOPS_NB_NOTEBOOK_ENGINE='kernel')
    assert done.returncode == 1 and 'in-process' in done.stdout + done.stderr
