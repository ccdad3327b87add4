"""How long it takes to tell whether new rows drifted: ours, Evidently's report, ydata-profiling's comparison.

    python benchmarks/drift_check.py [--json] [--quick]

Whole processes, as from a shell, started in turn, on two files of 20 columns: a history of 26 weeks, and the
rows of the next 4, in which SHIFTED really changed. All read the same Parquet files and write a page; ours is
also given CSV. Evidently: DataDriftPreset, told which columns are the time and the identifier, which ours
leaves out too. ydata-profiling: a minimal report of each file, both compared on one page; it judges nothing.

The first round warms up, and is asked what was found. Evidently agrees when it and ours both call all of
SHIFTED drifted; who calls other columns drifted too is noted on stderr, and is no disagreement.
ydata-profiling agrees when rows and missing values of COUNTED and means of NUMBERS are those of our profiles,
in both files. CSV agrees when the same columns drifted as with Parquet. Memory is the peak of the largest
process, page the file written. Each peer has an environment of its own: a run without --quick makes it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from execute import BIN, OURS, PEERS, Absent, Result

CSV, EVIDENTLY, YDATA = f'{OURS} with CSV', 'evidently', 'ydata-profiling'
WANTED = {EVIDENTLY: 'evidently==0.7.23', YDATA: 'ydata-profiling==4.18.4'}
SAME = 'pandas==2.3.3', f'pyarrow=={version("pyarrow")}'  # neither peer works with pandas 3
QUIET = {'DO_NOT_TRACK': '1', 'YDATA_PROFILING_NO_ANALYTICS': 'True', 'MPLBACKEND': 'Agg'}  # no telemetry
SHIFTED = {'price', 'clicks', 'channel', 'express'}
WORDS = {'status': 4, 'carrier': 12, 'warehouse': 40, 'city': 300, 'product': 1000}  # how many
NUMBERS = 'price', 'weight', 'temperature', 'clicks', 'stock'
COUNTED = *NUMBERS, 'channel', 'city'

CODE = {
    EVIDENTLY: """
import json, sys, pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
told = DataDefinition(id_column='row_id', timestamp='created_at')
frames = [pd.read_parquet(f'{name}.parquet') for name in ('new', 'history')]
run = Report([DataDriftPreset()]).run(*(Dataset.from_pandas(one, data_definition=told) for one in frames))
run.save_html('page.html')
if 'tell' in sys.argv:
    print(json.dumps(run.dict()['metrics'], default=float))
""",
    YDATA: """
import json, sys, pandas as pd
from ydata_profiling import ProfileReport
frames = {name: pd.read_parquet(f'{name}.parquet') for name in ('history', 'new')}
history, new = (ProfileReport(frames[n], title=n, minimal=True, progress_bar=False) for n in frames)
history.compare(new).to_file('page.html', silent=True)
if 'tell' in sys.argv:
    both = [report.get_description().variables.items() for report in (history, new)]
    told = [{name: [v['n'], v['n_missing'], v.get('mean')] for name, v in columns} for columns in both]
    print(json.dumps(told, default=float))
""",
}


def aside(function: Callable[..., Any], *given: Any) -> Any:
    "Call in another process: the peak memory of a child begins with that of the process that starts it."
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(function, *given).result()


def write(folder: Path, rows: int) -> None:
    "The history and the new rows, as Parquet and as CSV."
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng = np.random.default_rng(1)
    wobble = rng.normal(0, 0.05, 30)  # of a normal week, the new ones too

    def gaps(values: Any, share: float) -> pa.Array:
        return pa.array(values, mask=rng.random(rows) < share)

    def words(many: int) -> pa.Array:
        shares = 1 / np.arange(1, many + 1)
        return gaps(rng.choice([f'word {i}' for i in range(many)], rows, p=shares / shares.sum()), 0.02)

    for name, first, last, new in ('history', 0, 26, False), ('new', 26, 30, True):
        seconds = np.sort(rng.integers(first * 604_800, last * 604_800, rows))
        week = wobble[seconds // 604_800]
        columns = {
            'row_id': np.arange(rows) + rows * new,
            'created_at': pa.array(np.datetime64('2025-01-06', 'us') + seconds.astype('timedelta64[s]')),
            'price': gaps(rng.gamma(2, 26 if new else 20, rows), 0.03),
            'weight': gaps(rng.lognormal(1, 0.5, rows), 0.1),
            'distance': rng.gamma(3, 100, rows),
            'duration': gaps(rng.lognormal(3 + week, 0.4), 0.02),
            'temperature': gaps(rng.normal(12 + 20 * week, 8), 0.05),
            'discount': gaps(rng.beta(2, 8, rows), 0.4),
            'clicks': rng.poisson(6 if new else 4, rows),
            'items': rng.geometric(0.4, rows),
            'stock': rng.integers(0, 10_000, rows),
            'delay_minutes': gaps(rng.negative_binomial(2, 0.1, rows), 0.01),
            'channel': rng.choice(['shop', 'web', 'app'], rows, p=[0.5, 0.3, 0.2][:: -1 if new else 1]),
            'express': rng.random(rows) < (0.45 if new else 0.2),
            'gift': rng.random(rows) < 0.1 + week / 4,
        }
        table = pa.table(columns | {name: words(many) for name, many in WORDS.items()})
        parquet.write_table(table, folder / f'{name}.parquet')
        csv.write_csv(table, folder / f'{name}.csv')


def counted(folder: Path) -> list[dict[str, list[Any]]]:
    "Rows, missing values and mean of COUNTED as our profiles have them: of the history, of the new rows."
    from mlops_nb.profiles import profile_table
    from mlops_nb.tables import read_table

    tables = [read_table(folder / f'{name}.parquet').select(COUNTED) for name in ('history', 'new')]
    both = [profile_table(table).columns.items() for table in tables]
    return [{name: [c.rows, c.missing, c.mean] for name, c in columns} for columns in both]


def make_peer(peer: str, *, quick: bool) -> Absent | None:
    "An environment of its own; None: it is there."
    folder = PEERS / peer
    if (folder / 'ready').exists():
        return None
    if quick:
        return Absent(peer, 'not installed yet; a run without --quick installs it')
    venv.create(folder, with_pip=True)
    command = [str(folder / 'bin' / 'pip'), 'install', '--quiet', WANTED[peer], *SAME]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.returncode:
        (folder / 'ready').touch()
        return None
    return Absent(peer, (done.stderr.strip().splitlines() or ['pip failed'])[-1])


def commands(peers: list[str]) -> dict[str, list[str]]:
    "How each contender is started in the folder of `write`."
    options = ['--time', 'created_at', '--every', 'week', '--page', 'page.html']
    found = {
        name: [str(BIN / 'mlops-nb'), 'drift', 'check', f'new.{end}', '--against', f'history.{end}', *options]
        for name, end in ((OURS, 'parquet'), (CSV, 'csv'))
    }
    return found | {peer: [str(PEERS / peer / 'bin' / 'python'), '-c', CODE[peer]] for peer in peers}


def run(peer: str, command: list[str], folder: Path) -> tuple[str, str, dict[str, float]]:
    "One whole process: what it printed, why it failed ('': it did not), what it cost by unit."
    page, (out, error) = folder / 'page.html', (folder / name for name in ('out', 'error'))
    page.unlink(missing_ok=True)
    with out.open('w') as stdout, error.open('w') as stderr:
        started = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, env=os.environ | QUIET, stdout=stdout, stderr=stderr)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    good = child.returncode == (peer in (OURS, CSV)) and page.exists()  # 1: ours found drift
    why = '' if good else f'ended with {child.returncode}: {" ".join(error.read_text().splitlines()[-1:])}'
    cost = {'s': seconds, 'MiB': used.ru_maxrss / 1024, 'bytes': page.stat().st_size if good else math.nan}
    return out.read_text(), why, cost


def drifted(peer: str, out: str) -> set[str]:
    "The columns that were called drifted."
    if peer != EVIDENTLY:
        return set(re.findall(r'^  (\w+): ', out, re.MULTILINE))
    total, *metrics = json.loads(out.splitlines()[-1])
    found = {m['config']['column'] for m in metrics if m['value'] >= m['config']['threshold']}  # distances
    if len(found) != total['value']['count']:
        raise SystemExit(f'evidently counts {total["value"]}, we read {sorted(found)}')
    return found


def agrees(peer: str, out: str, ours: set[str], folder: Path) -> bool:
    "Whether a contender found what ours found, as said at the top."
    if peer == YDATA:
        pairs = zip(aside(counted, folder), json.loads(out.splitlines()[-1]), strict=True)
        both = [(name, mine[name], theirs[name]) for mine, theirs in pairs for name in COUNTED]
        means = [(a[2], b[2] or math.nan) for name, a, b in both if name in NUMBERS]
        return all(a[:2] == b[:2] for _, a, b in both) and all(math.isclose(*pair) for pair in means)
    found = drifted(peer, out)
    print(f'{peer}: stable, but called drifted: {sorted(found - SHIFTED)}', file=sys.stderr)
    return found == ours if peer == CSV else found >= SHIFTED and ours >= SHIFTED


def measure(peers: list[str], *, rows: int, runs: int) -> Iterator[Result | Absent]:
    "Each contender in turn, several times; the first round warms up and is asked what was found."
    with tempfile.TemporaryDirectory() as name:
        aside(write, folder := Path(name), rows)
        contenders, agree, ours = commands(peers), dict[str, bool](), set[str]()
        for peer, command in list(contenders.items()):
            out, error, _ = run(peer, [*command, 'tell'] if peer in CODE else command, folder)
            if error and peer in CODE:
                yield Absent(peer, error)
                del contenders[peer]
                continue
            ours = drifted(OURS, out) if peer == OURS else ours
            agree[peer] = not error and agrees(peer, out, ours, folder)
        order, costs = list(contenders), {peer: list[dict[str, float]]() for peer in contenders}
        for number in range(runs):
            for peer in order[number % len(order) :] + order[: number % len(order)]:
                _, error, cost = run(peer, contenders[peer], folder)
                if error:
                    raise SystemExit(f'{peer} {error}')
                costs[peer].append(cost)
    for unit, what in ('s', 'whole process'), ('MiB', 'peak memory'), ('bytes', 'page'):
        middle = {peer: round(median(one[unit] for one in found), 3) for peer, found in costs.items()}
        for peer in order[1:]:
            work = f'drift check, 2 x {rows:,} rows, {what}'
            yield Result(work, peer, middle[OURS], middle[peer], unit=unit, agree=agree[peer], runs=runs)


def line(one: Result | Absent) -> str:
    "A result for people."
    if isinstance(one, Absent):
        return f'{"":45} {one.peer:17} absent: {one.absent}'
    numbers = f'{one.ours:11,.2f} {one.theirs:13,.2f} {one.unit:5} {one.ratio:7.2f}'
    return f'{one.work:45} {one.peer:17} {numbers}  {"yes" if one.agree else "NO":5}  {one.runs:4}'


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='fewer rows, one round after the first')
    options = parser.parse_args()
    rows, runs = (10_000, 1) if options.quick else (300_000, 5)
    missing = {peer: make_peer(peer, quick=options.quick) for peer in WANTED}
    present = [peer for peer, absent in missing.items() if not absent]
    results = [*filter(None, missing.values()), *measure(present, rows=rows, runs=runs)]
    if not options.json:
        print(f'{"work":45} {"peer":17} {"ours":>11} {"theirs":>13} unit  {"ratio":>7}  agree  runs')
    print('\n'.join(json.dumps(asdict(one)) if options.json else line(one) for one in results))
    if not all(one.agree for one in results if isinstance(one, Result)):
        raise SystemExit('a contender found something else')


if __name__ == '__main__':
    main()
