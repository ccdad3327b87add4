"""What a notebook costs as a step of a flow, card included, next to the same code in a plain Metaflow step.

    python benchmarks/flow_step.py [--json] [--quick]

Each round runs each flow once, in turn. Seconds are those between the begin and the end of the task; CPU
seconds are those of its process until the step's own code has ended (Metaflow's @card is made after that, in
a process of its own), and tell more where other programs run; memory is the peak of the task's process.
Whether the code said the same is checked first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

TRIVIAL = 'answer = 6 * 7\nprint(answer)'
FRAME = """
import numpy as np
import pandas as pd
rows = pd.DataFrame({'hour': np.arange(300_000) % 24, 'delay': np.linspace(-20, 60, 300_000)})
answer = round(float(rows.groupby('hour').delay.mean().std()), 6)
print(answer)
"""
WORKS = {'trivial': TRIVIAL, 'a frame of 300,000 rows': FRAME}
HEAD = """
import time
from pathlib import Path
from {module} import {names}

def peak():
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith('VmHWM')))

class {name}(FlowSpec):
"""
END = """
        self.peak, self.cpu = peak(), time.process_time()
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == '__main__':
    {name}()
"""
OURS, PLAIN, CARD = 'notebook', 'plain Metaflow step', 'plain Metaflow step with @card'
FLOWS = {OURS: 'NotebookFlow', PLAIN: 'PlainFlow', CARD: 'CardFlow'}


@dataclass(frozen=True)
class Result:
    "One line of the table."

    work: str
    peer: str
    ours: float
    theirs: float
    unit: str
    agree: bool
    runs: int
    ratio: float = field(init=False)  # above 1: ours is less
    more: float = field(init=False)  # ours less theirs

    def __post_init__(self) -> None:
        object.__setattr__(self, 'ratio', round(self.theirs / self.ours, 3))
        object.__setattr__(self, 'more', round(self.ours - self.theirs, 3))


def write(project: Path, source: str) -> None:
    "A project with the same code in a notebook and in two plain flows."
    (project / 'nbs').mkdir()
    (project / 'settings.ini').write_text('[user]\nname = ada\n')
    code = {'cell_type': 'code', 'metadata': {}, 'outputs': [], 'execution_count': None}
    save = 'from mlops_nb import step\nstep.save(answer=answer)'
    cells = [{**code, 'source': source}, {**code, 'source': save}]
    notebook = {'cells': cells, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 4}
    (project / 'nbs' / 'work.ipynb').write_text(json.dumps(notebook))
    inline = (
        ''.join(f'        {line}\n' for line in source.strip().splitlines()) + '        self.answer = answer'
    )
    bodies = {
        OURS: "    @notebook('nbs/work.ipynb')\n    @step\n    def start(self):",
        PLAIN: f'    @step\n    def start(self):\n{inline}',
        CARD: f'    @card\n    @step\n    def start(self):\n{inline}',
    }
    for kind, body in bodies.items():
        name = FLOWS[kind]
        module, names = (
            ('mlops_nb.flows.decorators', 'FlowSpec, notebook, step')
            if kind == OURS
            else ('metaflow', 'FlowSpec, card, step')
        )
        text = HEAD.format(module=module, names=names, name=name) + body + END.format(name=name)
        (project / f'{name}.py').write_text(text)


def run(project: Path, name: str) -> tuple[float, float, float, object]:
    "Seconds, CPU seconds and MiB of the task, and what its code said."
    env = {
        **os.environ,
        'METAFLOW_USER': 'ada',
        'USERNAME': 'ada',
        'METAFLOW_DATASTORE_SYSROOT_LOCAL': str(project),
    }
    command = [sys.executable, str(project / f'{name}.py'), 'run', '--run-id-file', 'number']
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{" ".join(command)} failed:\n{done.stdout}{done.stderr}')
    return task_of(project, f'{name}/{(project / "number").read_text()}/start')


def task_of(project: Path, step: str) -> tuple[float, float, float, object]:
    "What Metaflow's client knows of the one task of a step."
    script = """
import json, sys
from metaflow import Step, namespace
namespace(None)
task = Step(sys.argv[1]).task
times = task.created_at.isoformat(), task.finished_at.isoformat()
print(json.dumps([*times, *(task[name].data for name in ('cpu', 'peak', 'answer'))]))
"""
    env = {
        **os.environ,
        'METAFLOW_USER': 'ada',
        'USERNAME': 'ada',
        'METAFLOW_DATASTORE_SYSROOT_LOCAL': str(project),
    }
    done = subprocess.run(
        [sys.executable, '-c', script, step], cwd=project, env=env, capture_output=True, text=True, check=True
    )
    began, ended, cpu, peak, answer = json.loads(done.stdout)
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return seconds, cpu, peak / 1024, answer


def measured(work: str, *, runs: int) -> Iterator[Result]:
    "Each flow in turn, several times; the first round, which makes the project's catalogue, does not count."
    found: dict[str, list[tuple[float, float, float, object]]] = {kind: [] for kind in FLOWS}
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), WORKS[work])
        for number in range(runs + 1):
            kinds = list(FLOWS)
            for kind in kinds[number % 3 :] + kinds[: number % 3]:
                found[kind].append(run(Path(name), FLOWS[kind]))
    said = {kind: {row[-1] for row in rows} for kind, rows in found.items()}
    for place, unit in enumerate(('s', 'CPU s', 'MiB')):
        middle = {kind: median(row[place] for row in rows[-runs:]) for kind, rows in found.items()}
        for peer in PLAIN, CARD:
            agree = said[peer] == said[OURS]
            ours, theirs = round(middle[OURS], 3), round(middle[peer], 3)
            yield Result(work, peer, ours, theirs, unit, agree, runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='one round of each')
    options = parser.parse_args()
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)  # an installed package has its byte code
    results = [one for work in WORKS for one in measured(work, runs=1 if options.quick else 7)]
    if options.json:
        print('\n'.join(json.dumps(asdict(one)) for one in results))
    else:
        print(f'{"work":26} {"peer":32} {"ours":>9} {"theirs":>9} {"more":>8}  unit   agree  runs')
        for one in results:
            numbers = f'{one.ours:9.3f} {one.theirs:9.3f} {one.more:8.3f}'
            agree = 'yes' if one.agree else 'NO'
            print(f'{one.work:26} {one.peer:32} {numbers}  {one.unit:5}  {agree:5}  {one.runs:4}')
    if not all(one.agree for one in results):
        raise SystemExit('the flows computed different things')


if __name__ == '__main__':
    main()
