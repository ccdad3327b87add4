"""How long it takes to run a notebook: ours, a plain script, papermill, nbclient, ploomber-engine.

    python benchmarks/execute.py [--json] [--quick]

Whole processes, as from a shell, started in turn; and, once everything is imported, what one more run costs.
Numbers are computed on one thread by all. What a contender printed is compared with what ours printed; the
figure is drawn once by the script, and once more by whoever shows it in a notebook.
ploomber-engine wants an environment of its own: it is made in .peers/ by a run without --quick.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

BIN = Path(sys.executable).parent
PEERS = Path(__file__).resolve().parent.parent / '.peers'
PLOOMBER = PEERS / 'ploomber-engine' / 'bin' / 'ploomber-engine'
SAME = 'numpy', 'pandas', 'scikit-learn', 'matplotlib'  # in the same versions for all

TRIVIAL = ('x = 6', 'print(x * 7)', 'x')
HEAVY = (
    'import io\nimport numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt\n'
    'from sklearn.ensemble import HistGradientBoostingClassifier\nfrom sklearn.metrics import roc_auc_score',
    'rng = np.random.default_rng(1)\n'
    'rows = pd.DataFrame({"hour": rng.integers(0, 24, 100_000), "distance": rng.gamma(2, 500, 100_000),\n'
    '                     "carrier": rng.choice(list("ABCDEF"), 100_000)})\n'
    'late = rng.random(100_000) < .1 + rows.hour / 80 + (rows.carrier == "F") * .2',
    'print(late.groupby(rows.carrier).mean().round(6).to_string())',
    'features = rows.assign(carrier=rows.carrier.astype("category"))\n'
    'model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=1, max_iter=60)\n'
    'model.fit(features[:80_000], late[:80_000])\n'
    'score = model.predict_proba(features[80_000:])[:, 1]\n'
    'print("ROC AUC", round(roc_auc_score(late[80_000:], score), 6))',
    'figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))\n'
    'left.hist(score, bins=50)\nright.plot(late.groupby(rows.hour).mean())\n'
    'file = io.BytesIO()\nfigure.savefig(file)\nprint(len(file.getvalue()) > 10_000)',
    'rows.head()',
)
WORKS = {'trivial': TRIVIAL, 'numpy, pandas, scikit-learn, matplotlib': HEAVY}
OURS = 'mlops-nb'
ONE_THREAD = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}


@dataclass(frozen=True)
class Result:
    "One line of the table."

    work: str
    peer: str
    ours: float
    theirs: float
    ratio: float = field(init=False)  # above 1: ours is faster
    unit: str = 's'
    agree: bool = True
    runs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, 'ratio', round(self.theirs / self.ours, 3))


@dataclass(frozen=True)
class Absent:
    "A peer that is not there."

    peer: str
    absent: str  # why


def make_ploomber(*, quick: bool) -> Absent | None:
    "ploomber-engine in an environment of its own; None: it is there."
    if PLOOMBER.exists():
        return None
    if quick:
        return Absent('ploomber-engine', 'not installed yet; a run without --quick installs it')
    folder = PLOOMBER.parent.parent
    wanted = ['ploomber-engine==0.0.33', *(f'{name}=={version(name)}' for name in SAME)]
    venv.create(folder, with_pip=True)
    command = [folder / 'bin' / 'pip', 'install', '--quiet', *wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not PLOOMBER.exists():
        return Absent(
            'ploomber-engine', done.stderr.strip().splitlines()[-1] if done.stderr else 'no program'
        )
    return None


def write(folder: Path, sources: tuple[str, ...]) -> None:
    "The same code as a notebook and as a script."
    cells = [
        {'cell_type': 'code', 'metadata': {}, 'source': s, 'outputs': [], 'execution_count': None}
        for s in sources
    ]
    about = {'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}}
    notebook = {'nbformat': 4, 'nbformat_minor': 4, 'metadata': about, 'cells': cells}
    (folder / 'in.ipynb').write_text(json.dumps(notebook))
    (folder / 'in.py').write_text('\n'.join(sources))


def commands(*, ploomber: bool) -> dict[str, list[str]]:
    "How each contender is started in the folder of `write`."
    found = {
        OURS: [str(BIN / 'mlops-nb'), 'exec', 'in.ipynb', '-o', 'out.ipynb'],
        'plain script': [sys.executable, 'in.py'],
        'papermill': [str(BIN / 'papermill'), 'in.ipynb', 'out.ipynb', '--no-progress-bar'],
    }
    return found | ({'ploomber-engine': [str(PLOOMBER), 'in.ipynb', 'out.ipynb']} if ploomber else {})


def run(command: list[str], folder: Path) -> tuple[float, str]:
    "Seconds, and what the code printed."
    quiet = {'MPLBACKEND': 'Agg'} if command[-1] == 'in.py' else {}
    (folder / 'out.ipynb').unlink(missing_ok=True)
    env = {**os.environ, **ONE_THREAD, **quiet, 'PLOOMBER_STATS_ENABLED': 'false'}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f'{" ".join(command)} failed:\n{done.stderr}')
    return seconds, done.stdout if command[-1] == 'in.py' else printed(folder / 'out.ipynb')


def printed(path: Path) -> str:
    "What the cells of an executed notebook printed."
    cells = json.loads(path.read_text())['cells']
    streams = (o for c in cells for o in c.get('outputs', ()) if o.get('name') == 'stdout')
    return ''.join(''.join(output['text']) for output in streams)


def whole_processes(work: str, *, runs: int, ploomber: bool) -> Iterator[Result]:
    "Each contender in turn, several times; where there are more, the first round only warms up."
    times: dict[str, list[float]] = {}
    said: dict[str, set[str]] = {}
    contenders = list(commands(ploomber=ploomber).items())
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), WORKS[work])
        for number in range(runs + (runs > 1)):
            for peer, command in (
                contenders[number % len(contenders) :] + contenders[: number % len(contenders)]
            ):
                seconds, text = run(command, Path(name))
                times.setdefault(peer, []).append(seconds)
                said.setdefault(peer, set()).add(text)
    yield from compared(
        f'{work}, whole process', times, runs=runs, agree={p: said[p] == said[OURS] for p in said}
    )


def compared(
    work: str, times: Mapping[str, list[float]], *, runs: int, agree: Mapping[str, bool]
) -> Iterator[Result]:
    "Medians, ours against each."
    middle = {peer: median(seconds[-runs:]) for peer, seconds in times.items()}
    for peer, seconds in middle.items():
        if peer != OURS:
            yield Result(work, peer, round(middle[OURS], 4), round(seconds, 4), agree=agree[peer], runs=runs)


WARM = {
    OURS: """
from mlops_nb.notebooks import run_notebook
def once(): run_notebook('in.ipynb', output='mlops-nb.ipynb').check()
""",
    'papermill': """
import papermill
def once(): papermill.execute_notebook('in.ipynb', 'papermill.ipynb', progress_bar=False)
""",
    'nbclient': """
import nbformat
from nbclient import NotebookClient
def once():
    notebook = nbformat.read('in.ipynb', 4)
    NotebookClient(notebook).execute()
    nbformat.write(notebook, 'nbclient.ipynb')
""",
    'ploomber-engine': """
from ploomber_engine import execute_notebook
quiet = {'progress_bar': False, 'verbose': False}
def once(): execute_notebook('in.ipynb', output_path='ploomber-engine.ipynb', **quiet)
""",
}
LOOP = """
import sys, time
for line in sys.stdin:
    began = time.perf_counter()
    once()
    print('took', time.perf_counter() - began, flush=True)
"""


@contextmanager
def warm(peer: str, folder: Path) -> Iterator[Callable[[], float]]:
    "A function that runs the notebook once more in a process that has all imported; its seconds."
    python = PLOOMBER.with_name('python') if peer == 'ploomber-engine' else sys.executable
    env = {**os.environ, **ONE_THREAD, 'PLOOMBER_STATS_ENABLED': 'false'}
    pipes: dict[str, Any] = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    pipes['stderr'] = subprocess.DEVNULL  # where kernels warn of their sockets
    with subprocess.Popen([python, '-c', WARM[peer] + LOOP], cwd=folder, env=env, **pipes) as process:

        def run() -> float:
            process.stdin.write('once more\n')  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            lines = iter(process.stdout.readline, '')  # type: ignore[arg-type,union-attr]
            took = next((line for line in lines if line.startswith('took')), None)
            if took is None:
                raise SystemExit(f'the process of {peer} has ended')
            return float(took.split()[1])

        yield run
        process.stdin.close()  # type: ignore[union-attr]


def once_imported(*, runs: int, ploomber: bool) -> Iterator[Result]:
    "What one more run of the trivial notebook costs in a process that has run one; each has its own."
    peers = [peer for peer in WARM if ploomber or peer != 'ploomber-engine']
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write(folder, TRIVIAL)
        ways = {peer: stack.enter_context(warm(peer, folder)) for peer in peers}
        for number in range(runs + (runs > 1) * 3):
            for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
                times[peer].append(ways[peer]())
        ours = printed(folder / f'{OURS}.ipynb')
        same = {peer: printed(folder / f'{peer}.ipynb') == ours for peer in peers}
    yield from compared('trivial, once imported', times, runs=runs, agree=same)


def table(results: list[Result | Absent]) -> str:
    "The results for people."
    lines = [f'{"work":58} {"peer":16} {"ours s":>8} {"theirs s":>9} {"ratio":>7}  agree  runs']
    for one in results:
        if isinstance(one, Absent):
            lines.append(f'{"":58} {one.peer:16} absent: {one.absent}')
        else:
            numbers = f'{one.ours:8.3f} {one.theirs:9.3f} {one.ratio:7.2f}'
            lines.append(
                f'{one.work:58} {one.peer:16} {numbers}  {"yes" if one.agree else "NO":5}  {one.runs:4}'
            )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='one round of each')
    options = parser.parse_args()
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)  # an installed package has its byte code
    runs = 1 if options.quick else 7
    missing = make_ploomber(quick=options.quick)
    results: list[Result | Absent] = [missing] if missing else []
    for work in WORKS:
        results += whole_processes(work, runs=runs, ploomber=missing is None)
    results += once_imported(runs=runs, ploomber=missing is None)
    print('\n'.join(json.dumps(asdict(one)) for one in results) if options.json else table(results))
    if not all(one.agree for one in results if isinstance(one, Result)):
        raise SystemExit('a contender printed something else')


if __name__ == '__main__':
    main()
