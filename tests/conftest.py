"""What tests share: small real projects, and the commands that people type."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, STARTS, Commands
from small import Run, clean_environment, small_project

# tests that a script runs in the background ignore Ctrl-C, and so would the commands that they start
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files whose tests share nothing that takes long: they run in whatever process has time for one more.
SPREAD = {'test_hold', 'test_parameters', 'test_limits', 'test_notebooks', 'test_execute'}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    "With --dist loadfile, tests of one file share a process, except where they share nothing."
    from xdist.scheduler import LoadScopeScheduling

    class BySharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition('::')[0]
            return nodeid if Path(file).stem in SPREAD else file

    return BySharing(config, log) if config.getoption('dist') == 'loadfile' else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    "Importing `mlops_nb.flows` says where all that is started later keeps its runs: not beyond a test."
    os.environ.pop('METAFLOW_DATASTORE_SYSROOT_LOCAL', None)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    "A project with three small step notebooks."
    return small_project(tmp_path)


def start(arguments: list[str], *, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    "The command `mlops-nb` from nothing."
    command, variables = [COMMAND, *arguments], clean_environment(**environment)
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope='session')
def real_mlops() -> Run:
    "The command `mlops-nb`, in a folder, started as people start it: for tests of the start itself."
    return lambda *arguments, folder, **more: start([*map(str, arguments)], folder=folder, **more)


@pytest.fixture(scope='session')
def commands() -> Iterator[Commands]:
    "The process that commands are forked from."
    process = Commands()
    yield process
    process.close()


@pytest.fixture(scope='session')
def mlops(commands: Commands) -> Run:
    "The command `mlops-nb`, in a folder."

    def run(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        words = [*map(str, arguments)]
        if any(name.startswith(STARTS) for name in environment):
            return start(words, folder=folder, **environment)
        variables = clean_environment(**environment)
        return commands.run(words, folder=folder, environment=variables, timeout=600)

    return run
