"""Gates: the same figures as Fairlearn and scikit-learn, honest intervals, an answer to whatever comes."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings as budget, strategies as st
from sklearn import metrics as sk
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlops_nb.core import RefusedError, SettingsError, UsageError, load_settings
from mlops_nb.core.rules import measure_parts, measures
from mlops_nb.models import Evidence, compare, evaluate, fairness, promote, register, sentences
from mlops_nb.models.aliases import failed_gates
from mlops_nb.models.gates import check
from mlops_nb.models.group_fairness import group_measure, groups_of
from mlops_nb.models.measures import predictions_of, statistic, value_of
from mlops_nb.models.resampling import Blocks, blocks_of_rows, interval_of, weights
from mlops_nb.models.results import Comparison, gate_result, plain, read
from mlops_nb.models.slice_search import cut, every_slice, metric_of, search
from mlops_nb.store import open_store


def flights(rows: int = 4000, *, seed: int = 0, luck: float = 0.5) -> pd.DataFrame:
    "Flights of 30 days, each with its own luck, and two models' scores."
    random = np.random.default_rng(seed)
    hours = random.integers(0, 30 * 24, rows)
    found = pd.DataFrame({
        'scheduled': pd.Timestamp('2013-12-01', tz='UTC') + pd.to_timedelta(hours, unit='h'),
        'carrier': random.choice(['UA', 'DL', 'EV', 'HA'], rows, p=[0.5, 0.3, 0.195, 0.005]),
        'origin': random.choice(['EWR', 'JFK', 'LGA'], rows),
        'rain': random.gamma(1, 1, rows).round(1),
    })  # fmt: skip
    true = -1.5 + 0.8 * found.rain + random.normal(0, luck, 30)[hours // 24]
    found['late'] = (random.random(rows) < 1 / (1 + np.exp(-true))).astype(int)
    found['probability'] = predict(found)
    found['before'] = (found.probability + random.normal(0, 0.1, rows)).clip(0, 1)
    return found


def predict(rows: pd.DataFrame) -> np.ndarray:
    return 1 / (1 + np.exp(1.5 - 0.8 * rows.rain.to_numpy()))


def evidence(rows: pd.DataFrame | None = None, **more: Any) -> Evidence:
    given: dict[str, Any] = {
        'rows': flights() if rows is None else rows, 'truth': 'late', 'score': 'probability',
        'time': 'scheduled', 'threshold': 0.4, 'champion': 'before', 'against': 'late@1',
        'predict': predict, 'size': 280_000, 'cut_by': ['carrier', 'origin', 'rain'],
    }  # fmt: skip
    return Evidence(**{**given, **more})


EVERY = (
    'roc_auc >= 0.70', 'roc_auc >= champion - 0.005', 'log_loss <= champion', 'brier <= 0.2', 'recall >= 0.4',
    'calibration error <= 0.05', 'worst slice by carrier of roc_auc >= 0.60', 'worst slice of recall >= 0.3',
    'worst slice by origin with at least 500 rows of accuracy >= 0.5', 'size <= 50 MB', 'rises with rain',
    'demographic_parity_difference(origin) <= 0.10', 'equalized_odds_ratio(origin) >= 0.7',
    'roc_auc_group_min(origin) >= champion - 0.01', 'invariant to carrier', 'invariant to rain within 0.1',
    'falls with rain in 95 % of rows',
)  # fmt: skip


# --- the same figures as those of the field's libraries


def as_fairlearn(measure: str, truth: Any, said: Any, group: Any) -> float | None:
    "The measure by Fairlearn; None where it has none."
    import fairlearn.metrics as fair

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if function := getattr(fair, measure, None):
            return float(function(truth, said, sensitive_features=group))
        metrics, how = measure_parts(measure)
        of_sklearn = {
            'precision': sk.precision_score, 'recall': sk.recall_score, 'f1': sk.f1_score,
            'accuracy': sk.accuracy_score, 'balanced_accuracy': sk.balanced_accuracy_score,
            'roc_auc': sk.roc_auc_score, 'log_loss': sk.log_loss, 'brier': sk.brier_score_loss,
        }  # fmt: skip
        base = getattr(fair, metrics[0], None) or of_sklearn.get(metrics[0])
        if base is None:
            return None
        frame = fair.MetricFrame(metrics=base, y_true=truth, y_pred=said, sensitive_features=group)
        return float(getattr(frame, how)())


@pytest.mark.parametrize('seed', [0, 1])
def test_every_measure_of_groups_is_that_of_fairlearn(seed: int) -> None:
    rows = flights(3000, seed=seed)
    ours = predictions_of(rows.late, rows.probability, threshold=0.4)
    group, names = groups_of(rows, ['origin'])
    one, checked = Blocks('row', np.zeros(len(rows), int), 1), 0
    for measure in measures():
        graded = measure.startswith(('roc_auc', 'log_loss', 'brier'))
        theirs = as_fairlearn(measure, rows.late, rows.probability if graded else ours.said, rows.origin)
        if theirs is not None:
            of = {'group': group, 'groups': 3, 'blocks': one, 'drawn': np.ones((1, 1))}
            assert group_measure(measure, ours, **of)[0][0] == pytest.approx(theirs), measure
            checked += 1
    assert checked == 58 and names[0] == (('origin', 'EWR'),)


def test_a_table_of_fairness_counts_what_fairlearn_counts() -> None:
    from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate

    rows = flights(3000)
    table = fairness(rows, 'carrier', predictions=predictions_of(rows.late, rows.probability, threshold=0.4))
    frame = MetricFrame(
        metrics={'selection_rate': selection_rate, 'true_positive_rate': true_positive_rate},
        y_true=rows.late, y_pred=rows.probability >= 0.4, sensitive_features=rows.carrier,
    ).by_group  # fmt: skip
    assert [one.value for one in table.left_out] == ['HA'] and len(table.groups) == 3
    for one in (*table.groups, *table.left_out):
        for name in frame.columns:
            assert one.figures[name] == pytest.approx(frame.loc[one.value, name])


SCIKIT = {
    'roc_auc': lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w),
    'recall': lambda y, p, w: sk.recall_score(y, p >= 0.4, sample_weight=w),
    'precision': lambda y, p, w: sk.precision_score(y, p >= 0.4, sample_weight=w),
    'f1': lambda y, p, w: sk.f1_score(y, p >= 0.4, sample_weight=w),
    'accuracy': lambda y, p, w: sk.accuracy_score(y, p >= 0.4, sample_weight=w),
    'balanced_accuracy': lambda y, p, w: sk.balanced_accuracy_score(y, p >= 0.4, sample_weight=w),
    'log_loss': lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    'brier': lambda y, p, w: sk.brier_score_loss(y, p, sample_weight=w),
}


@pytest.mark.parametrize('metric', SCIKIT)
def test_each_resample_is_what_scikit_learn_says_of_the_drawn_rows(metric: str) -> None:
    rows = flights(1500).round({'probability': 2})
    drawn, proof = weights(30, resamples=10), evidence(rows)
    found = statistic(metric, proof.own, proof.blocks).at(drawn)[:, 0]
    for weight, value in zip(drawn[:, proof.blocks.number], found, strict=True):
        assert value == pytest.approx(SCIKIT[metric](rows.late, rows.probability, weight))


def test_numbers_are_those_of_scikit_learn_with_weights() -> None:
    random = np.random.default_rng(2)
    truth, day = random.normal(0, 2, 900), random.integers(0, 12, 900)
    said, drawn = truth + random.normal(0.1, 1, 900), weights(12, resamples=5)
    ours = predictions_of(truth, said)
    for name, theirs in (
        ('rmse', sk.root_mean_squared_error),
        ('mae', sk.mean_absolute_error),
        ('r2', sk.r2_score),
    ):
        found = statistic(name, ours, Blocks('day', day, 12)).at(drawn)[:, 0]
        assert found == pytest.approx([theirs(truth, said, sample_weight=w) for w in drawn[:, day]])


def test_a_regression_has_gates_too() -> None:
    random = np.random.default_rng(1)
    rows = pd.DataFrame({'day': np.repeat(np.arange(20), 50), 'x': random.random(1000)})
    rows['part'] = np.tile(['a', 'b'], 500)
    rows['delay'] = 10 * rows.x + random.normal(0, 1, 1000)
    rows['said'] = 10 * rows.x
    rows['low'], rows['high'] = rows.said - 1.96, rows.said + 1.96
    proof = Evidence(rows=rows, truth='delay', score='said', group='day', predict=lambda one: 10 * one.x)
    for sentence, verdict in {
        'rmse <= 1.2': 'passed', 'rmse <= 0.5': 'failed', 'mae <= 0.9': 'passed', 'r2 >= 0.8': 'passed',
        'pinball(0.5) <= 0.5': 'passed', 'coverage(low, high) >= 0.9': 'passed', 'rises with x': 'passed',
        'coverage(low, high) >= 0.99': 'failed', 'worst slice by part of rmse <= 3': 'passed',
        'worst slice by day with at least 20 rows of rmse <= 3': 'cannot tell',  # a day is a single block
    }.items():  # fmt: skip
        assert check(sentence, proof).verdict == verdict, sentence
    with pytest.raises(UsageError, match=r'roc_auc is no metric of a regression model; expected one of rmse'):
        check('roc_auc >= 0.7', proof)
    with pytest.raises(UsageError, match=r"found no column 'lo'.*Did you mean 'low'"):
        check('coverage(lo, high) >= 0.9', proof)


def test_several_classes_have_gates_too() -> None:
    random = np.random.default_rng(1)
    chances = random.dirichlet([0.4, 0.4, 0.4], 1500)
    rows = pd.DataFrame(chances, columns=['early', 'ontime', 'late']).assign(day=random.integers(0, 20, 1500))
    rows['truth'] = [random.choice(['early', 'ontime', 'late'], p=one) for one in chances]
    names = ['early', 'ontime', 'late']
    proof = Evidence(rows=rows, truth='truth', score=names, classes=names, group='day')
    result = check('roc_auc >= 0.7', proof)
    assert result.passed
    assert result.value == pytest.approx(
        sk.roc_auc_score(rows.truth, chances[:, [0, 2, 1]], multi_class='ovr', labels=sorted(names))
    )
    assert check('f1 >= 0.3', proof).passed
    with pytest.raises(UsageError, match='no metric of a multiclass model'):
        check('brier <= 0.3', proof)


# --- intervals


def test_intervals_of_a_difference_hold_what_they_promise() -> None:
    "Of 150 months with lucky and unlucky days, most intervals hold the difference that a large sample shows."
    truth = (
        compare(evidence(flights(300_000, seed=99, luck=0.0)), metrics=['roc_auc'], smallest=10**9)
        .metrics[0]
        .difference
    )
    held = 0
    for seed in range(150):
        one = compare(
            evidence(flights(600, seed=seed, luck=0.3)), metrics=['roc_auc'], smallest=10**9
        ).metrics[0]
        held += one.interval.low <= truth <= one.interval.high
    assert 0.89 <= held / 150 <= 1


def test_rows_of_a_day_taken_one_by_one_would_claim_too_much() -> None:
    rows = flights(6000, luck=1.5)
    by_day = check('rate >= 0.1', evidence(rows)).interval
    by_row = check('rate >= 0.1', evidence(rows, time='')).interval
    assert by_day.of == 'day' and by_row.of == 'row'
    assert by_day.high - by_day.low > 2.5 * (by_row.high - by_row.low)


def test_the_same_draws_weigh_both_models_so_that_noise_does_not_decide() -> None:
    rows = flights(4000)
    proof = evidence(rows)
    own = check('roc_auc >= 0.5', proof).interval
    beside = check('roc_auc >= champion - 0.005', proof)
    assert beside.passed and beside.against == 'late@1'
    assert beside.interval.high - beside.interval.low < 0.7 * (own.high - own.low)
    twin = check('roc_auc >= champion', evidence(rows, champion='probability'))
    assert twin.passed and (twin.interval.low, twin.interval.high) == (0, 0)


@budget(deadline=None, max_examples=6)
@given(st.integers(0, 10_000), st.sampled_from(['scheduled', '']))
def test_no_verdict_depends_on_the_order_of_the_rows(seed: int, time: str) -> None:
    rows = flights(900, seed=3)
    turned = rows.sample(frac=1, random_state=seed)
    for sentence in EVERY:
        one, two = (check(sentence, evidence(some, time=time)) for some in (rows, turned))
        assert one.verdict == two.verdict, sentence
        if one.value is not None:
            assert one.value == pytest.approx(two.value, abs=1e-12), sentence
        if one.interval is not None:
            assert one.interval.low == pytest.approx(two.interval.low, abs=1e-9), sentence


@budget(deadline=None, max_examples=25)
@given(st.floats(0.3, 0.95), st.sampled_from(['roc_auc', 'recall', 'accuracy']))
def test_a_stricter_threshold_never_helps(threshold: float, metric: str) -> None:
    order = {'failed': 0, 'cannot tell': 1, 'passed': 2}
    proof = evidence(flights(800))
    easy, hard = (check(f'{metric} >= {number!r}', proof) for number in (threshold, threshold + 0.04))
    assert order[hard.verdict] <= order[easy.verdict]


def test_few_blocks_say_that_they_are_few() -> None:
    rows = flights()
    few = check('roc_auc >= 0.5', evidence(rows[rows.scheduled.dt.day <= 5]))
    assert few.verdict == 'cannot tell' and 'found 5 days; expected at least 8' in few.reason
    assert check('roc_auc >= 0.5 (value only)', evidence(rows[rows.scheduled.dt.day <= 5])).passed
    assert interval_of(0.5, np.full(1000, np.nan), Blocks('day', np.arange(30), 30)) is None


# --- slices


@pytest.mark.filterwarnings('ignore:is_sparse is deprecated')  # in sliceline
def test_the_search_finds_what_sliceline_finds() -> None:
    from sliceline.slicefinder import Slicefinder

    rows = flights(3000, seed=4)
    rows['hour'] = rows.scheduled.dt.hour // 6
    bad = (rows.carrier == 'EV') & (rows.hour == 2)
    rows.loc[bad, 'late'] = (rows.probability[bad] < 0.4).astype(int)
    table = cut(rows, ['carrier', 'origin', 'hour'])
    ours = predictions_of(rows.late, rows.probability, threshold=0.4)
    wrong = (ours.said != ours.truth).astype(float)
    finder = Slicefinder(alpha=0.95, k=5, max_l=3, min_sup=100, verbose=False).fit(table, wrong)

    def score(mean: float, size: int) -> float:  # Sagadeeva and Boehm, SliceLine, SIGMOD 2021
        return 0.95 * (mean / wrong.mean() - 1) - 0.05 * (len(rows) / size - 1)

    found = []
    for one in every_slice(table, smallest=100):
        accuracy = metric_of('accuracy', ours, slices=one, rank=np.zeros(len(rows), int))
        found += [(score(1 - a, n), where) for a, n, where in zip(accuracy, one.rows, one.where, strict=True)]
    best = [one for one in sorted(found, key=lambda one: -one[0])[:5] if one[0] > 0]  # as they do
    theirs = [
        tuple(
            (column, str(value))
            for column, value in zip(table.columns, values, strict=True)
            if value is not None
        )
        for values in finder.top_slices_
    ]
    assert {where for _, where in best} == set(theirs)
    assert (
        dict(best[0][1]).items()
        <= {'carrier': 'EV', 'hour': '2', 'origin': dict(best[0][1]).get('origin')}.items()
    )


@budget(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from('ab'), st.sampled_from('xyz'), st.booleans()), min_size=1, max_size=60)
)
def test_every_set_of_rows_is_one_slice_described_by_the_fewest_columns(
    rows: list[tuple[str, str, bool]],
) -> None:
    table = cut(
        pd.DataFrame(rows, columns=['a', 'b', 'c']).assign(d=[one[0] for one in rows]), ['a', 'b', 'c', 'd']
    )
    ours = {}
    for one in every_slice(table, smallest=3):
        for i, where in enumerate(one.where):
            members = frozenset(np.flatnonzero(one.number == i).tolist())
            assert members not in ours and len(members) == one.rows[i] >= 3
            ours[members] = where
    expected: dict[frozenset[int], int] = {}
    for ways in (1, 2, 3):
        for columns in combinations(table.columns, ways):
            for _, part in table.groupby(list(columns)):
                if 3 <= len(part) < len(table):
                    expected.setdefault(frozenset(part.index.tolist()), ways)
    assert {members: len(where) for members, where in ours.items()} == expected


def test_the_worst_of_many_slices_is_not_called_bad_when_all_are_alike() -> None:
    called = 0
    for seed in range(12):
        rows = flights(4000, seed=seed, luck=0.0)
        rows['gate'] = np.random.default_rng(seed).integers(0, 12, len(rows)).astype(str)
        proof = evidence(rows, cut_by=['carrier', 'origin', 'gate'])
        overall = value_of(statistic('roc_auc', proof.own, proof.blocks), proof.blocks.count)[0]
        called += check(f'worst slice of roc_auc >= {overall:.4f}', proof).verdict == 'failed'
    assert called <= 1


def test_a_slice_that_is_bad_fails_the_gate_and_is_named() -> None:
    rows = flights(8000)
    bad = rows.carrier.eq('EV') & rows.origin.eq('LGA')
    rows.loc[bad, 'probability'] = np.random.default_rng(0).random(int(bad.sum()))
    result = check('worst slice of roc_auc >= 0.6', evidence(rows, cut_by=['carrier', 'origin']))
    assert (
        result.verdict == 'failed'
        and 'carrier=EV, origin=LGA' in result.reason
        and 'slices of' in result.reason
    )
    named = check('worst slice by carrier, origin of roc_auc >= 0.6', evidence(rows))
    assert named.verdict == 'failed' and named.slices[0].name == 'carrier=EV, origin=LGA'
    assert 'too few rows to compare: HA' in named.reason.replace('HA, ', 'HA ')


# --- whatever comes


def gap(column: str) -> Any:
    "Rows of which four lack a value."
    return lambda rows: rows.assign(**{column: rows[column].where(rows.index > 3)})


BAD = {
    'a score that is not known': (gap('probability'), '4 of 4,000 scores'),
    'a truth that is not known': (gap('late'), '4 of 4,000 rows have no truth'),
    'a truth that is a number': (lambda rows: rows.assign(late=rows.late + 3.5), 'no metric of a regression'),
    'no score': (lambda rows: rows.drop(columns='probability'), "found no column 'probability'"),
    'a time that is not known': (gap('scheduled'), 'have no scheduled'),
}


@pytest.mark.parametrize('case', BAD)
def test_rows_that_cannot_be_judged_are_refused(case: str) -> None:
    spoil, message = BAD[case]
    with pytest.raises(UsageError, match=message):
        check('roc_auc >= 0.7', evidence(spoil(flights())))


CANNOT = {
    'one class only': (lambda rows: rows.assign(late=0), 'roc_auc >= 0.7', 'all have the same truth'),
    'three rows': (lambda rows: rows[:3], 'worst slice by carrier of recall >= 0.7', 'no slice has 100 rows'),
    'three rows and a search': (lambda rows: rows[:3], 'worst slice of recall >= 0.7', '0 slices'),
    'groups too small': (lambda rows: rows[:90], 'equalized_odds_difference(origin) <= 0.1', 'too few rows'),
    'a constant column': (lambda rows: rows.assign(rain=1.0), 'rises with rain', 'same value in all rows'),
}  # fmt: skip


@pytest.mark.parametrize('case', CANNOT)
def test_what_rows_cannot_tell_does_not_pass(case: str) -> None:
    spoil, sentence, message = CANNOT[case]
    result = check(sentence, evidence(spoil(flights())))
    assert result.verdict == 'cannot tell' and message in result.reason and not result.passed


def test_a_column_or_metric_that_does_not_exist_is_named_with_a_suggestion() -> None:
    proof = evidence()
    with pytest.raises(UsageError, match=r"found no column 'orign'.*Did you mean 'origin'"):
        check('demographic_parity_difference(orign) <= 0.1', proof)
    with pytest.raises(UsageError, match=r"found no column 'rein'.*Did you mean 'rain'"):
        check('invariant to rein', proof)
    with pytest.raises(UsageError, match='rises with carrier needs a number'):
        check('rises with carrier', proof)
    unknown = check('roc_auk >= 0.7', proof, metrics={'roc_auc': 0.7})
    assert unknown.verdict == 'cannot tell' and "Did you mean 'roc_auc'" in unknown.reason


SENTENCES = {
    'overfit(roc_auk) <= 0.1': "ranking is 'overfit.*found 'roc_auk' in overfit.*Did you mean 'roc_auc'",
    'demografic_parity_difference(origin) <= 0.1': "Did you mean 'demographic_parity_difference'",
    'roc_auc => 0.7': "found '=>' as the sign; expected one of >=, <=",
    'roc_auc >= champoin': "found 'champoin' as the bound.*Did you mean 'champion'",
    'size <= 50 XB': "found 'XB' behind the number",
    'worst slice by carrier of rate >= 0.1': "found 'rate' in worst slice of METRIC",
}


@pytest.mark.parametrize('sentence', SENTENCES)
def test_settings_refuse_a_gate_that_cannot_be_read(tmp_path: Path, sentence: str) -> None:
    (tmp_path / 'settings.ini').write_text(f'[gates]\nranking = {sentence}\n', encoding='utf-8')
    with pytest.raises(SettingsError, match=SENTENCES[sentence]):
        load_settings(tmp_path)


# --- kept, and asked again


def test_answers_are_kept_whole() -> None:
    for sentence in EVERY:
        result = check(sentence, evidence())
        assert gate_result(json.loads(json.dumps(plain(result)))) == result, sentence


PROJECT = (
    '[user]\nname = ada\n[gates]\nranking = roc_auc >= 0.65\nbetter = roc_auc >= champion - 0.005\n'
    '[model late]\ndataset = flights\nlabel = late\nevent_time = scheduled\ngates = ranking, better\n'
)


def test_only_what_was_shown_beside_todays_champion_is_promoted(tmp_path: Path) -> None:
    (tmp_path / 'settings.ini').write_text(PROJECT, encoding='utf-8')
    store = open_store(load_settings(tmp_path))
    rows = flights()
    model = LogisticRegression().fit(rows[['rain']], rows.late)

    def version(**beside: Any) -> Any:
        gates = evaluate(store.settings, 'late', {}, evidence(rows, **beside))
        return register(store, 'late', model, metrics={'roc_auc': 0.74}, gates=gates)

    assert failed_gates(store.settings, version(champion='', against='')) == ()
    promote(store, 'late@1', 'champion', why='the first')
    version(), version(), version(score='before', champion='probability')
    promote(store, 'late@2', 'champion', why='better')
    with pytest.raises(RefusedError, match='compared with late@1; late@2 is the champion now'):
        promote(store, 'late@3', 'champion', why='as good')
    with pytest.raises(RefusedError, match=r'late@4 may not become champion, it failed'):
        promote(store, 'late@4', 'champion', why='hope')
    stricter = replace(store.settings, gates={**store.settings.gates, 'ranking': 'roc_auc >= 0.9'})
    assert failed_gates(stricter, version())[0].name == 'ranking'


# --- two models


def test_a_comparison_says_who_wins_where_and_comes_back_from_json() -> None:
    rows = flights(6000)
    rows.loc[rows.origin == 'LGA', 'probability'] = 0.3
    found = compare(evidence(rows, cut_by=['origin', 'carrier']), 'late@2')
    assert [one.name for one in found.lost] == ['origin=LGA'] and found.blocks == 30
    assert read(Comparison, json.loads(json.dumps(plain(found)))) == found
    turned = compare(evidence(rows, score='before', champion='probability', cut_by=['origin', 'carrier']))
    assert [one.name for one in turned.won] == ['origin=LGA']
    assert turned.metrics[0].difference == pytest.approx(-(found.metrics[0].difference or 0))
    assert 'Of 6 slices' in ' '.join(sentences(found))


def test_numbers_are_compared_too() -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({'day': np.repeat(np.arange(20), 50), 'part': np.tile(['a', 'b'], 500)})
    rows['y'] = random.normal(0, 1, 1000)
    rows['old'], rows['new'] = rows.y + random.normal(0, 1, 1000), rows.y + random.normal(0, 0.5, 1000)
    found = compare(Evidence(rows=rows, truth='y', score='new', champion='old', group='day', cut_by=['part']))
    assert found.metrics[0].metric == 'rmse' and found.metrics[0].outcome == 'better' and len(found.won) == 2
    assert found.disagreement.challenger_right > found.disagreement.champion_right


@pytest.fixture
def two_versions(tmp_path: Path) -> Path:
    "A project with a model that knows the hour, and one that knows the rain, too."
    (tmp_path / 'settings.ini').write_text(PROJECT, encoding='utf-8')
    store, rows = open_store(load_settings(tmp_path)), flights(6000)
    rows['hour'] = rows.scheduled.dt.hour
    for columns in ['hour'], ['hour', 'rain']:
        model = LogisticRegression().fit(rows[columns], rows.late)
        register(store, 'late', model, metrics={}, gates=[], sample=rows[columns].head(50))
    rows.drop(columns=['probability', 'before']).to_parquet(tmp_path / 'december.parquet')
    return tmp_path


def test_two_versions_are_compared_from_a_shell(two_versions: Path, mlops: Any) -> None:
    command = 'models', 'compare', 'late@1', 'late@2', '--rows', 'december.parquet', '--by', 'origin,carrier'
    told = mlops(*command, '--page', 'compare.html', folder=two_versions)
    assert told.returncode == 0, told.stderr
    assert 'late@2 is better than late@1' in told.stdout and 'resampled by day (30)' in told.stdout
    page = (two_versions / 'compare.html').read_text(encoding='utf-8')
    assert '<h1>late@2 is better than late@1</h1>' in page and 'origin=JFK' in page
    as_json = mlops(*command, '--json', folder=two_versions)
    assert json.loads(as_json.stdout)['metrics'][0]['outcome'] == 'better'


def test_versions_are_not_compared_on_rows_that_they_have_learned_from(
    two_versions: Path, mlops: Any
) -> None:
    from mlops_nb.data import commit

    store = open_store(load_settings(two_versions))
    rows = pd.read_parquet(two_versions / 'december.parquet')
    commit(store, 'flights', rows, batch='2013-12')
    register(
        store,
        'late',
        LogisticRegression().fit(rows[['rain']], rows.late),
        metrics={},
        gates=[],
        datasets=['flights@1'],
    )
    rows.assign(batch='2013-12').to_parquet(two_versions / 'known.parquet')
    command = 'models', 'compare', 'late@2', 'late@3', '--rows', 'known.parquet'
    refused = mlops(*command, folder=two_versions)
    assert (
        refused.returncode == 2
        and 'late@3 has learned from these rows; expected rows that neither has' in refused.stderr
    )
    told = mlops(*command, '--seen', folder=two_versions)
    assert told.returncode == 0 and 'what it remembers makes it look better than it is' in told.stdout


def test_models_that_predict_a_number_have_no_probabilities() -> None:
    from types import SimpleNamespace

    from mlops_nb.cli.compare import scores_of

    rows = flights(200)
    model = LinearRegression().fit(rows[['rain']], rows.late)
    version: Any = SimpleNamespace(estimator=lambda: model, inputs=lambda given: given)
    said, classes = scores_of(version, rows)
    assert said.shape == (200, 1) and classes == []


def test_rows_taken_for_themselves_go_into_the_same_parts_in_any_order() -> None:
    rows = flights(3000)
    parts = pd.Series(blocks_of_rows(rows).number, rows.index)
    turned = rows.sample(frac=1, random_state=1)
    assert (pd.Series(blocks_of_rows(turned).number, turned.index).sort_index() == parts).all()


def test_a_search_needs_a_metric_with_a_worse_side() -> None:
    proof = evidence()
    with pytest.raises(UsageError, match='has no worse side'):
        search(
            proof.rows,
            ['carrier'],
            metric='rate',
            predictions=proof.own,
            blocks=proof.blocks,
            drawn=proof.drawn,
        )
