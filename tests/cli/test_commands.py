"""A command that is forked, as most tests have it, is the command that people start."""

from __future__ import annotations

import fcntl
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import Commands
from small import Run, cell, clean_environment, small_project, write_notebook

ASKED = (
    '', 'new more --data rows.csv --label word', 'check nbs', 'doctor', 'data versions --json', 'resume',
    'data get rows@1 out.csv', 'profile build rows.csv', 'drift check rows.csv --against rows.csv',
    'review list', 'models show late@1', 'runs list', 'audit verify', 'exec nbs/look.ipynb -o out.ipynb',
    'run nbs/look.ipynb --depth 1', 'nonsense',
)  # fmt: skip


@pytest.fixture(scope='module')
def asked_in(mlops: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A project that commands are typed in."
    folder = small_project(tmp_path_factory.mktemp('asked'))
    write_notebook(folder / 'nbs' / 'look.ipynb', cell('import os, sys\nprint(sys.argv, os.getcwd())'))
    (folder / 'rows.csv').write_text('n,word\n1,a\n2,b\n3,a\n')
    assert mlops('data', 'commit', 'rows', 'rows.csv', folder=folder).returncode == 0
    return folder


@pytest.mark.parametrize('words', ASKED)
def test_it_says_and_writes_what_a_started_one_does(
    asked_in: Path, mlops: Run, real_mlops: Run, words: str
) -> None:
    told = []
    for start in mlops, real_mlops:
        before = {path: path.stat().st_mtime_ns for path in asked_in.rglob('*')}
        done = start(*words.split(), folder=asked_in)
        changed = {path for path in asked_in.rglob('*') if before.get(path) != path.stat().st_mtime_ns}
        texts = [re.sub(r'\d+\.\d+ ?s\b|0x\w+|\d\d:\d\d\S*', '', text) for text in (done.stdout, done.stderr)]
        told.append((done.returncode, *texts, sorted(map(str, changed))))
    assert told[0] == told[1]


def run_cell(commands: Commands, folder: Path, source: str, **environment: str) -> tuple[int, str]:
    "Run a cell in a forked command: the exit code, and all that it said."
    write_notebook(folder / 'in.ipynb', cell(source))
    words = 'exec', 'in.ipynb', '-o', 'out.ipynb', '--log-output'
    done = commands.run(words, folder=folder, environment=clean_environment(**environment), timeout=600)
    return done.returncode, done.stdout + done.stderr


LEAVES = """
import numpy, os, random, sys, time
print('said', os.getpid(), random.random(), numpy.random.rand(), time.tzname[0], os.environ.get('GIVEN'))
print(sys.stdin.isatty(), sys.stdin.read(), 'LEFT' in os.environ)
os.environ['LEFT'] = 'behind'
os.chdir('/')
"""


def test_it_has_a_process_an_environment_and_a_folder_of_its_own(tmp_path: Path, commands: Commands) -> None:
    found = []
    for _ in range(2):
        code, told = run_cell(commands, tmp_path, LEAVES, GIVEN='x', TZ='Somewhere-3')
        said = re.search(r'said (\d+) (\S+) (\S+) Somewhere x\nFalse  False', told)
        assert code == 0 and said, told
        found.append({*said.groups(), str(commands.process.pid)})
    assert len(found[0] & found[1]) == 1, 'each is random in its own way'
    assert re.search(r'said \d+ \S+ \S+ (?!Somewhere)\S+ None', run_cell(commands, tmp_path, LEAVES)[1])


def test_its_exit_code_is_that_of_a_process(tmp_path: Path, commands: Commands) -> None:
    assert run_cell(commands, tmp_path, 'print(1)')[0] == 0
    assert run_cell(commands, tmp_path, '1 / 0')[0] == 1
    assert run_cell(commands, tmp_path, 'import os, signal\nos.kill(os.getpid(), signal.SIGKILL)')[0] == -9
    assert run_cell(commands, tmp_path, 'print(1)')[0] == 0, 'the next one is not hurt'


ENDLESS = """
import fcntl, pathlib, subprocess
held = open('held', 'w')
fcntl.flock(held, fcntl.LOCK_EX)
child = subprocess.Popen(['sleep', '600'], pass_fds=[held.fileno()])
pathlib.Path('begun').touch()
child.wait()
"""


def test_one_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    commands, words = Commands(preload=()), ['exec', 'in.ipynb', '-o', 'out.ipynb']
    write_notebook(tmp_path / 'in.ipynb', cell(ENDLESS))
    options = {'folder': tmp_path, 'environment': clean_environment()}
    with ThreadPoolExecutor() as threads:
        running = threads.submit(commands.run, words, timeout=600, **options)
        while not (tmp_path / 'begun').exists() and not running.done():
            time.sleep(0.05)
        commands.close()
        with pytest.raises((OSError, ValueError, AssertionError)):
            running.result()
    with open(tmp_path / 'held') as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # nobody has it any more
    with pytest.raises(subprocess.TimeoutExpired):
        Commands(preload=()).run(words, timeout=0.01, **options)
