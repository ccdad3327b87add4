"""How long it takes to register a model, to promote it and to load it by its alias: ours, and MLflow's.

    python benchmarks/registry.py [--json] [--quick]

One whole story in a warm process, both in turn on the same fitted model: kept with its metrics, signature
and example, an alias moved to it, and the model loaded by that alias. Ours includes the model card, the
record with the code and all packages, the fingerprint and the audit chain; MLflow keeps its catalogue in
SQLite, its model in skops' format. Both agree when the loaded model predicts the same as the one that was
registered. MLflow has an environment of its own: a run without --quick makes it.

Then growth, ours alone: catalogues with 100, 1,000 and 10,000 versions and ten times as many profiles
(--quick: the first two), and how long it takes to list the newest 100 versions, to trace the lineage of
one, to find one by its alias, and to list the newest 100 profiles. Last, 8 processes register 40 versions
each and move one alias at once, on SQLite and, where a server can be started, on PostgreSQL: `agree` says
that no version and no move was lost or made twice.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from execute import OURS, PEERS, Absent, Result

from mlops_nb.core import load_settings, now
from mlops_nb.store import Store, open_store

TESTS = Path(__file__).resolve().parent.parent / 'tests'
MLFLOW = 'mlflow'
WANTED = 'mlflow==3.17.2', f'scikit-learn=={version("scikit-learn")}', f'skops=={version("skops")}'
SETTINGS = '[store]\ncatalog = {}\n[user]\nname = ada\n[model late]\ndataset = flights\nlabel = late\n'
METRICS = {'roc_auc': 0.72, 'accuracy': 0.77, 'brier': 0.15}
THEIRS = """
import json, logging, os, sys, time
import numpy as np, pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
os.environ['MLFLOW_TRACKING_URI'] = f'sqlite:///{sys.argv[1]}/mlflow.db'
import mlflow, mlflow.sklearn
from mlflow.models import infer_signature
logging.disable(logging.WARNING)
sys.path.insert(0, sys.argv[2])
from registry_model import fitted
mlflow.set_experiment('late')
model, rows = fitted()
client = mlflow.MlflowClient()
types = ['functools.partial', 'sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor',
         'sklearn.utils.validation.check_array']
print('ready', flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    with mlflow.start_run():
        mlflow.log_metrics(json.loads(line))
        kept = mlflow.sklearn.log_model(model, name='model', registered_model_name='late',
            input_example=rows[:5], signature=infer_signature(rows, model.predict(rows)),
            serialization_format='skops', skops_trusted_types=types)
    logged = time.perf_counter()
    client.set_registered_model_alias('late', 'champion', kept.registered_model_version)
    moved = time.perf_counter()
    loaded = mlflow.sklearn.load_model('models:/late@champion')
    done = time.perf_counter()
    same = bool((loaded.predict_proba(rows) == model.predict_proba(rows)).all())
    print(json.dumps([logged - started, moved - logged, done - moved, same]), flush=True)
"""
MODEL = """
import numpy as np, pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier


def fitted():
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(2000, 10)), columns=[f'x{i}' for i in range(10)])
    late = rows.x0 + rows.x1 * rows.x2 > 0.3
    return HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(rows, late), rows
"""


def make_peer(*, quick: bool) -> Absent | None:
    "MLflow in an environment of its own; None: it is there."
    folder = PEERS / MLFLOW
    if (folder / 'ready').exists():
        return None
    if quick:
        return Absent(MLFLOW, 'not installed yet; a run without --quick installs it')
    venv.create(folder, with_pip=True)
    done = subprocess.run(
        [folder / 'bin' / 'pip', 'install', '--quiet', *WANTED], capture_output=True, text=True
    )
    if not done.returncode:
        (folder / 'ready').touch()
        return None
    return Absent(MLFLOW, (done.stderr.strip().splitlines() or ['pip failed'])[-1])


def new_store(folder: Path, catalogue: str = '') -> Store:
    "A project of its own."
    folder.mkdir(exist_ok=True)
    (folder / 'settings.ini').write_text(SETTINGS.format(catalogue))
    return open_store(load_settings(folder))


def our_story(store: Store, model: Any, rows: pd.DataFrame) -> list[float | bool]:
    "Register with card, promote, load by alias; seconds of each, and whether it predicts the same."
    from mlops_nb.models import load_version, promote, register

    started = time.perf_counter()
    kept = register(store, 'late', model, metrics=METRICS, gates=[], sample=rows)
    logged = time.perf_counter()
    promote(store, str(kept), 'champion', why='better')
    moved = time.perf_counter()
    loaded = load_version(store, 'late@champion').estimator()
    done = time.perf_counter()
    same = bool((loaded.predict_proba(rows) == model.predict_proba(rows)).all()) and bool(kept.card)
    return [logged - started, moved - logged, done - moved, same]


@contextmanager
def mlflow_process(folder: Path) -> Iterator[Callable[[], list[float | bool]]]:
    "MLflow in a warm process; each call is one story."
    (folder / 'registry_model.py').write_text(MODEL)
    command = [PEERS / MLFLOW / 'bin' / 'python', '-c', THEIRS, folder, folder]
    process = subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin and process.stdout

    def ask() -> list[float | bool]:
        process.stdin.write(json.dumps(METRICS) + '\n')
        process.stdin.flush()
        while not (line := process.stdout.readline()).startswith('['):
            if not line:
                raise SystemExit('MLflow ended; start its program by hand to see why')
        return list(json.loads(line))

    try:
        if process.stdout.readline() != 'ready\n':
            raise SystemExit('MLflow did not start')
        yield ask
    finally:
        process.stdin.close()
        process.wait()


def stories(*, runs: int, peer: bool) -> Iterator[Result]:
    "Both in turn; the first round warms up."
    scope: dict[str, Any] = {}
    exec(MODEL, scope)
    model, rows = scope['fitted']()
    with tempfile.TemporaryDirectory() as name:
        store = new_store(Path(name, 'ours'))
        ours: list[list[Any]] = []
        if not peer:
            ours = [our_story(store, model, rows) for _ in range(runs + 1)][1:]
            total = median(sum(one[:3]) for one in ours)
            yield Result(
                'register, promote, load', OURS, total, total, agree=all(one[3] for one in ours), runs=runs
            )
            return
        with mlflow_process(Path(name)) as ask:
            both = [(our_story(store, model, rows), ask()) for _ in range(runs + 1)][1:]
    agree = all(one[3] and other[3] for one, other in both)
    for number, work in enumerate(('register', 'promote', 'load by alias')):
        mine, theirs = (median(pair[side][number] for pair in both) for side in (0, 1))
        yield Result(work, MLFLOW, round(mine, 4), round(theirs, 4), agree=agree, runs=runs)
    mine, theirs = (median(sum(pair[side][:3]) for pair in both) for side in (0, 1))
    yield Result('register, promote, load', MLFLOW, round(mine, 4), round(theirs, 4), agree=agree, runs=runs)


def fill(store: Store, size: int) -> None:
    "That many versions with lineage, an alias, and ten times as many profiles."
    from mlops_nb.store.schema import alias, edge, model_version, profile

    at, digest = now(), 'ab' * 32
    versions = [
        {'model': 'late', 'version': i, 'file': digest, 'metrics': METRICS, 'gates': [], 'created_by': 'ada',
         'datasets': [f'flights@{i}'], 'run': f'TrainFlow/{i}', 'created_at': at, 'environment': {}}
        for i in range(1, size + 1)
    ]  # fmt: skip
    edges = [(f'run:TrainFlow/{i}', f'dataset:flights@{i}', 'used') for i in range(1, size + 1)]
    edges += [(f'run:TrainFlow/{i}', f'model:late@{i}', 'produced') for i in range(1, size + 1)]
    profiles = [
        {'dataset': 'flights', 'batch': f'batch {i}', 'role': 'data', 'model': '', 'digest': digest,
         'version': i, 'rows': 1000, 'created_at': at}
        for i in range(10 * size)
    ]  # fmt: skip
    with store.begin() as connection:
        connection.execute(model_version.insert(), versions)
        connection.execute(profile.insert(), profiles)
        keys = 'source', 'target', 'relation'
        connection.execute(
            edge.insert(), [dict(zip(keys, e, strict=True)) | {'created_at': at} for e in edges]
        )
        connection.execute(alias.insert().values(('model', 'late', 'champion', size // 2, 1)))


def growth(sizes: list[int], *, runs: int) -> Iterator[Result]:
    "What listing, lineage and look-up take in catalogues of several sizes."
    from mlops_nb.models import load_version, versions
    from mlops_nb.profiles import list_profiles
    from mlops_nb.store import trace

    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            store = new_store(Path(name))
            fill(store, size)
            calls: dict[str, Callable[[], Any]] = {
                'newest 100 versions': lambda s=store: len(versions(s, 'late')) == 100,
                'newest 100 of all models': lambda s=store: len(versions(s)) == 100,
                'lineage of a version': lambda s=store, n=size: len(trace(s, f'model:late@{n // 2}').up) == 2,
                'version by its alias': lambda s=store, n=size: (
                    load_version(s, 'late@champion').version == n // 2
                ),
                'newest 100 profiles': lambda s=store: len(list_profiles(s, 'flights', limit=100)) == 100,
            }
            for work, call in calls.items():
                call()
                agree, seconds = True, []
                for _ in range(runs):
                    started = time.perf_counter()
                    agree = call() and agree
                    seconds.append(time.perf_counter() - started)
                middle = round(median(seconds), 4)
                yield Result(f'{work}, {size:,} versions', OURS, middle, middle, agree=agree, runs=runs)


def _work(number: int, root: Path, times: int) -> None:
    "Register and promote, again and again, beside others who do the same."
    from sklearn.linear_model import LogisticRegression

    from mlops_nb.core import ConflictError
    from mlops_nb.models import promote, register

    store, model = open_store(load_settings(root)), LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    for _ in range(times):
        kept = register(store, 'late', model, metrics=METRICS, gates=[])
        while True:
            try:
                promote(store, str(kept), 'champion', why=f'process {number}')
                break
            except ConflictError:
                continue


def race(store: Store, work: str, *, processes: int, times: int) -> Result:
    "Many processes register and move one alias at once."
    sys.path.insert(0, str(TESTS))
    from processes import race as run_at_once

    from mlops_nb.models import versions
    from mlops_nb.models.aliases import faults
    from mlops_nb.store import entries, verify

    started = time.perf_counter()
    run_at_once(_work, store.settings.root, times, processes=processes)
    seconds = round(time.perf_counter() - started, 2)
    total = processes * times
    numbers = versions(store, 'late', limit=None)['version'].tolist()
    moves = entries(store, 'model:late@champion')
    chained = [e.details['revision'] for e in moves] == list(range(1, len(moves) + 1)) and len(moves) == total
    agree = numbers == list(range(1, total + 1)) and chained and verify(store).whole and not faults(store)
    return Result(
        f'{total} versions and moves, {processes} processes, {work}', OURS, seconds, seconds, agree=agree
    )


def races(*, quick: bool) -> Iterator[Result | Absent]:
    "On SQLite and PostgreSQL."
    sys.path.insert(0, str(TESTS))
    from databases import serving

    processes, times = (4, 5) if quick else (8, 40)
    with tempfile.TemporaryDirectory() as name:
        yield race(new_store(Path(name)), 'SQLite', processes=processes, times=times)
    with serving() as url, tempfile.TemporaryDirectory() as name:
        if url is None:
            yield Absent('PostgreSQL', 'no server here: apt-get install postgresql')
            return
        store = new_store(Path(name), url.replace('NAME', 'postgres'))
        yield race(store, 'PostgreSQL', processes=processes, times=times)


def line(one: Result | Absent) -> str:
    "A result for people."
    if isinstance(one, Absent):
        return f'{"":52} {one.peer:8} absent: {one.absent}'
    numbers = f'{one.ours:9.4f} {one.theirs:9.4f} {one.unit:3} {one.ratio:7.2f}'
    return f'{one.work:52} {one.peer:8} {numbers}  {"yes" if one.agree else "NO":5}  {one.runs:4}'


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, sizes and processes')
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    absent = make_peer(quick=options.quick)
    runs = 2 if options.quick else 7
    if not options.json:
        print(f'{"work":52} {"peer":8} {"ours":>9} {"theirs":>9} unit {"ratio":>6}  agree  runs')
    agree = True
    for one in chain(
        [absent] if absent else [],
        stories(runs=runs, peer=absent is None),
        growth([100, 1000] if options.quick else [100, 1000, 10_000], runs=runs),
        races(quick=options.quick),
    ):
        agree = agree and (isinstance(one, Absent) or one.agree)
        print(json.dumps(asdict(one)) if options.json else line(one), flush=True)
    if not agree:
        raise SystemExit('something was lost, or predicts otherwise')


if __name__ == '__main__':
    main()
