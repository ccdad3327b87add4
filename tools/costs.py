"""A plugin of pytest that tells what the tests of each file cost, and stops those that start too much.

Use: python -m pytest -p tools.costs --costs NAME     (NAME: a table of tools/costs.toml)

Seconds of the processor are told and never judged: they hang on the machine. Judged are counts of what is
started by the processes that run tests, as Python's audit events say it:

- processes: programs that are started, by whatever way
- commands: `mlops-nb`, forked from a process that stands ready or started; the latter are processes, too
- flow runs: commands and programs that are asked to run or to go on with a flow, also where that is refused
- kernels, browsers, servers: programs that are one; a server is JupyterLab, PostgreSQL or the one of buckets

What those start in turn, such as a flow's tasks, belongs to them and is not counted; its seconds are.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

LIMITS = Path(__file__).with_suffix('.toml')
SHOWN = 20  # files
KINDS = {
    'commands': r'mlops-nb( |$)',
    'flow runs': r'mlops-nb (flow (?!.*--help).* (run|resume)\b|run (?!.*--help)|tour|models reproduce)'
    r'|\.py (.* )?(run|resume)( |$)',
    'kernels': r' (-m )?(ipykernel|bash_kernel|\S*ipykernel_launcher)',
    'browsers': r' run-driver',
    'servers': r' -m jupyterlab|/postgres -D|make_server',
}


def words(arguments: Any) -> str:
    "A command line as one line."
    parts = arguments if isinstance(arguments, (list, tuple)) else [arguments]
    return ' '.join(os.fsdecode(part) for part in parts)


def children_seconds() -> float:
    "Seconds of the processor that running children, and the ended children of those, have used."
    told, tick = 0.0, os.sysconf('SC_CLK_TCK')
    for path in Path('/proc/self/task').glob('*/children'):
        for child in path.read_text().split():
            try:
                stat = Path(f'/proc/{child}/stat').read_text()
            except OSError:  # it has ended
                continue
            told += sum(map(int, stat.rpartition(')')[2].split()[11:15])) / tick
    return told


def seconds() -> float:
    "Seconds of the processor that this process and what it started have used."
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds) + children_seconds()


class Costs:
    "What the tests of one process cost, or, where others run them, of all."

    def __init__(self, name: str, *, runs_tests: bool) -> None:
        self.name, self.runs_tests = name, runs_tests
        self.seconds, self.tests, self.counts = Counter[str](), Counter[str](), Counter[str]()
        self.last = seconds()
        if runs_tests:
            sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        "Count what an audit event says is started."
        if event in ('subprocess.Popen', 'os.posix_spawn'):
            line = words(arguments[1])
        elif event in ('os.system', 'mlops_nb.command'):
            line = words(arguments[0])
        else:
            return
        self.counts['processes'] += event != 'mlops_nb.command'
        self.counts.update(kind for kind, pattern in KINDS.items() if re.search(pattern, line))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        "One more test is done."
        now, file = seconds(), nodeid.partition('::')[0]
        if self.runs_tests:
            self.seconds[file] += now - self.last
            self.tests[file] += 1
        self.last = now

    def add(self, told: dict[str, dict[str, float]]) -> None:
        "Add what another process has told."
        self.seconds.update(told['seconds'])
        self.tests.update(told['tests'])
        self.counts.update(told['counts'])

    def too_many(self) -> list[str]:
        "What is above its limit."
        limits = tomllib.loads(LIMITS.read_text())[self.name] if self.name else {}
        return [
            f'{count} {kind}; expected at most {limits[kind]}, see tools/{LIMITS.name}'
            for kind in ('processes', *KINDS)
            if (count := self.counts[kind]) > limits.get(kind, count)
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        "xdist: a process that ran tests has ended."
        if told := getattr(node, 'workeroutput', {}).get('costs'):
            self.add(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        "Tell the process that started this one; or judge."
        own = {'seconds': self.seconds, 'tests': self.tests, 'counts': self.counts}
        if hasattr(session.config, 'workeroutput'):
            session.config.workeroutput['costs'] = {name: dict(value) for name, value in own.items()}
        elif self.too_many() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        "Show it."
        terminalreporter.section('costs')
        for file, used in self.seconds.most_common(SHOWN):
            terminalreporter.line(f'{used:8.1f} s of the processor  {self.tests[file]:5} tests  {file}')
        terminalreporter.line(f'{self.seconds.total():8.1f} s in {len(self.seconds)} files')
        terminalreporter.line(', '.join(f'{self.counts[kind]} {kind}' for kind in ('processes', *KINDS)))
        for line in self.too_many():
            terminalreporter.line(f'Too many: {line}', red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    "The option that names the limits."
    parser.addoption('--costs', default='', metavar='NAME', help='a table of tools/costs.toml')


def pytest_configure(config: pytest.Config) -> None:
    "Count from the first test on."
    runs_tests = hasattr(config, 'workerinput') or config.getoption('dist', 'no') == 'no'
    config.pluginmanager.register(Costs(config.getoption('costs'), runs_tests=runs_tests), 'costs of tests')
