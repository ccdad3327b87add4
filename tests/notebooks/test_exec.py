"""What `mlops-nb exec` runs, keeps and tells, whatever happens to a notebook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import COMMAND
from small import Run, cell, write_notebook

KILLED = 'import os, signal\nos.kill(os.getpid(), signal.SIGKILL)'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    "Notebooks that end in every way."
    nbs = tmp_path / 'nbs'
    write_notebook(nbs / 'fine.ipynb', cell('month: int = 6', 'parameters'), cell('print("month", month)'))
    write_notebook(nbs / 'raises.ipynb', cell('x = 1'), cell('# why\ny = 2\nx / 0'), cell('z = 3'))
    write_notebook(nbs / 'killed.ipynb', cell('x = 1'), cell(KILLED), cell('z = 3'))
    write_notebook(nbs / 'ends.ipynb', cell('import os\nos._exit(1)'), cell('z = 3'))
    (tmp_path / 'settings.ini').touch()
    return tmp_path


def said(path: Path) -> str:
    "The outputs of an executed notebook."
    return str([one.get('outputs') for one in json.loads(path.read_text())['cells']])


def test_no_failure_hides_another_and_each_is_told_with_its_cell_and_line(folder: Path, mlops: Run) -> None:
    done = mlops('exec', 'nbs', '-j', 2, '-p', 'month', 7, '--junit', 'ci/out.xml', folder=folder)
    assert done.returncode == 1
    assert 'ok      nbs/fine.ipynb' in done.stdout
    assert 'nbs/raises.ipynb:cell 2:line 3: ZeroDivisionError: division by zero' in done.stdout
    assert 'nbs/killed.ipynb:cell 2: ProcessKilled: the process was ended by SIGKILL' in done.stdout
    assert 'nbs/ends.ipynb:cell 1: ProcessEnded' in done.stdout
    assert '1 passed, 3 failed' in done.stdout
    executed = folder / 'executed' / 'nbs'
    assert sorted(path.name for path in executed.glob('*.ipynb')) == sorted(
        path.name for path in (folder / 'nbs').glob('*.ipynb')
    )
    assert 'month 7' in said(executed / 'fine.ipynb') and 'SIGKILL' in said(executed / 'killed.ipynb')
    for name in 'fine', 'raises', 'killed', 'ends':
        assert '<h1' in (executed / f'{name}.html').read_text()
    assert 'SIGKILL' in (executed / 'killed.html').read_text()


def test_junit_has_a_suite_for_each_notebook_and_a_case_for_each_cell(folder: Path, mlops: Run) -> None:
    mlops('exec', 'nbs', '--junit', 'out.xml', folder=folder)
    top = ElementTree.parse(folder / 'out.xml').getroot()
    suites = {one.get('name'): one for one in top}
    assert list(suites) == [f'nbs/{name}.ipynb' for name in ('ends', 'fine', 'killed', 'raises')]
    for one in [top, *top]:
        for count, tag in ('tests', 'testcase'), ('failures', 'failure'), ('skipped', 'skipped'):
            assert one.get(count) == str(len(list(one.iter(tag))))
    names = [one.get('name') for one in suites['nbs/raises.ipynb']]
    assert names == ['cell 1: x = 1', 'cell 2: y = 2', 'cell 3: z = 3']
    failed = suites['nbs/raises.ipynb'].find('testcase/failure')
    assert failed is not None and failed.text and '\x1b' not in failed.text
    assert failed.get('message') == 'nbs/raises.ipynb:cell 2:line 3: ZeroDivisionError: division by zero'
    assert failed.get('type') == 'ZeroDivisionError' and '----> 3 x / 0' in failed.text
    assert suites['nbs/fine.ipynb'].findtext('.//system-out') == 'month 6\n'
    assert [len(one) for one in suites['nbs/killed.ipynb']] == [0, 1, 1]


def test_one_notebook_is_written_where_it_is_wanted(folder: Path, mlops: Run) -> None:
    (folder / 'values.yaml').write_text('month: 8')
    done = mlops('exec', 'nbs/fine.ipynb', '-o', 'deep/out.ipynb', '-f', 'values.yaml', folder=folder)
    assert done.returncode == 0 and 'month 8' in said(folder / 'deep' / 'out.ipynb')
    assert not (folder / 'deep' / 'out.html').exists() and not (folder / 'executed').exists()
    done = mlops('exec', 'nbs/raises.ipynb', folder=folder)
    assert done.returncode == 1 and 'raises.ipynb:cell 2:line 3' in done.stdout
    assert (folder / 'executed' / 'nbs' / 'raises.html').exists()


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ('nbs/fine.ipynb out.ipynb', '-o out.ipynb'),
        ('nbs -p mnoth 7', "none of 4 notebooks; they declare month. Did you mean 'month'?"),
        ('nbs -p month July', "parameter 'month' of nbs/fine.ipynb is declared int; found 'July'"),
        ('nbs/raises.ipynb -p month 7', "has no cell tagged 'parameters'"),
        ('nbs -p month', 'expected -p NAME VALUE'),
        ('nbs -o one.ipynb', 'expected a folder'),
        ('nbs -o settings.ini', 'expected a folder'),
        ('nbs -o .', 'would be replaced by its executed copy'),
        ('nbs --engine kernle', "Did you mean 'kernel'?"),
        ('nbs -f values.yaml', 'values.yaml cannot be read'),
        ('nothing.ipynb', 'found no notebook at nothing.ipynb'),
    ],
)
def test_wrong_use_is_refused_before_anything_starts(
    folder: Path, mlops: Run, arguments: str, expected: str
) -> None:
    before = sorted(folder.rglob('*'))
    done = mlops('exec', *arguments.split(), folder=folder)
    assert done.returncode == 2 and expected in done.stderr and 'Traceback' not in done.stderr
    assert sorted(folder.rglob('*')) == before


def test_what_cells_print_is_written_as_it_comes_with_the_name_of_the_notebook(
    folder: Path, mlops: Run
) -> None:
    write_notebook(folder / 'says.ipynb', cell('print("one\\ntwo", end="")'))
    done = mlops('exec', 'nbs/fine.ipynb', 'says.ipynb', '-j', 2, '--log-output', folder=folder)
    assert done.returncode == 0
    assert sorted(done.stderr.splitlines()) == [
        'nbs/fine.ipynb: month 6',
        'says.ipynb: one',
        'says.ipynb: two',
    ]
    assert mlops('exec', 'says.ipynb', '--log-output', folder=folder).stderr == 'one\ntwo'


@pytest.mark.parametrize('jobs', [0, 2])
def test_a_notebook_that_takes_too_long_is_stopped(folder: Path, mlops: Run, jobs: int) -> None:
    write_notebook(folder / 'waits.ipynb', cell('x = 1'), cell('import time\ntime.sleep(600)'))
    done = mlops('exec', 'waits.ipynb', '-j', jobs, '--notebook-timeout', 1, '--grace', 5, folder=folder)
    assert done.returncode == 1 and 'FAILED  waits.ipynb' in done.stdout
    assert 'waits.ipynb:cell 2' in done.stdout


def test_notebooks_of_the_same_name_do_not_meet(tmp_path: Path, mlops: Run) -> None:
    for name in 'one', 'two':
        write_notebook(tmp_path / name / 'same.ipynb', cell(f'print("{name}")'))
    done = mlops(
        'exec', 'one', 'two/same.ipynb', '../' + tmp_path.name + '/one', '-o', 'out', folder=tmp_path
    )
    assert done.returncode == 0 and done.stdout.startswith('ok') and '2 passed' in done.stdout
    assert 'one' in said(tmp_path / 'out' / 'one' / 'same.ipynb')
    assert 'two' in said(tmp_path / 'out' / 'two' / 'same.ipynb')


def test_a_kernel_that_is_not_there_fails_its_notebook_only(folder: Path, mlops: Run) -> None:
    path = write_notebook(folder / 'other.ipynb', cell('1'))
    content = json.loads(path.read_text())
    content['metadata'] = {'kernelspec': {'name': 'nowhere', 'language': 'python', 'display_name': 'x'}}
    path.write_text(json.dumps(content))
    arguments = 'other.ipynb', 'nbs/fine.ipynb', '--engine', 'kernel', '-j', 2, '--junit', 'out.xml'
    done = mlops('exec', *arguments, folder=folder)
    assert done.returncode == 1 and 'ok      nbs/fine.ipynb' in done.stdout
    assert "other.ipynb: other.ipynb asks for the kernel 'nowhere'" in done.stdout
    (error,) = ElementTree.parse(folder / 'out.xml').getroot().iter('error')
    assert "'nowhere'" in str(error.get('message'))


def wait_for(path: Path) -> None:
    "Until a file is there."
    until = time.monotonic() + 600
    while not path.exists():
        assert time.monotonic() < until, f'{path} never came'
        time.sleep(0.02)


@pytest.mark.parametrize('apart', [True, False])
def test_ctrl_c_keeps_what_is_finished_and_ends_what_runs(folder: Path, apart: bool) -> None:
    program = 'import os, subprocess, pathlib, time\nchild = subprocess.Popen(["sleep", "600"])\n'
    waits = f'{program}pathlib.Path("started").write_text(f"{{os.getpid()}} {{child.pid}}")\ntime.sleep(600)'
    write_notebook(folder / 'waits.ipynb', cell('print("before")'), cell(waits), cell('z = 3'))
    more = ['nbs/fine.ipynb', 'waits.ipynb', 'nbs/raises.ipynb', '-j', '1'] if apart else ['waits.ipynb']
    command = [COMMAND, 'exec', *more, '--junit', 'out.xml']
    started = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    wait_for(folder / 'started')
    started.send_signal(signal.SIGINT)
    told, _ = started.communicate(timeout=600)
    assert started.returncode == 130 and 'STOPPED waits.ipynb' in told
    assert 'waits.ipynb:cell 2:line 4: KeyboardInterrupt' in told
    assert 'before' in said(folder / 'executed' / 'waits.ipynb')
    notebook, child = map(int, (folder / 'started').read_text().split())
    if apart:
        assert 'ok      nbs/fine.ipynb' in told and '1 not run' in told
        for number in notebook, child:
            with pytest.raises(ProcessLookupError):
                os.kill(number, 0)
    else:
        os.kill(child, signal.SIGKILL)
    assert ElementTree.parse(folder / 'out.xml').getroot().get('failures') == '1'
