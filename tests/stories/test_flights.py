"""The worked example on real flights: nothing leaks, nothing is dropped silently, the model is good."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_nb import data, models
from mlops_nb.contracts import enforce, read_contract
from mlops_nb.core import ContractError, load_settings, shipped
from mlops_nb.data import held, held_batches
from mlops_nb.drift import find_report
from mlops_nb.flows.context import Context, attached
from mlops_nb.models import classification
from mlops_nb.notebooks import run_notebook
from mlops_nb.notebooks.execute import Execution
from mlops_nb.profiles import profile_table, save_profile
from mlops_nb.store import Store, open_store
from mlops_nb.store.store import move_alias


@dataclass(frozen=True)
class Project:
    "A copy of the example with a store of its own; what its notebooks save is there for those after them."

    root: Path
    store: Store
    saved: dict[str, Any]

    def run(self, name: str, **values: Any) -> tuple[Execution, Mapping[str, float]]:
        "Run a notebook as a step; how it ended, and what it logged."
        context = Context(load_settings(self.root), name=name, artifacts=self.saved, saved=self.saved)
        with attached(context):
            done = run_notebook(self.root / 'nbs' / f'{name}.ipynb', values, path=[self.root])
        return done, context.metrics

    def load(self, name: str) -> Any:
        "What a notebook saved."
        from mlops_nb.store import fetch

        return fetch(self.store, self.saved[name])


@pytest.fixture(scope='module')
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp('project') / 'flights'
    shutil.copytree(shipped('examples/flights'), root, ignore=shutil.ignore_patterns('.*'))
    sys.path.insert(0, str(root))
    yield Project(root, open_store(load_settings(root)), {})
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name.split('.')[0] == 'flights']:
        del sys.modules[name]


@pytest.fixture(scope='module')
def year(project: Project) -> dict[int, pd.DataFrame]:
    "The complete flights of each month."
    from flights.ingest import complete, source

    raw = source('flights.csv.zip')
    return dict(iter(complete(raw).groupby(raw['month'])))


@pytest.fixture(scope='module')
def predict(project: Project, year: dict[int, pd.DataFrame]) -> Callable[[pd.DataFrame], np.ndarray]:
    "The model that the example's notebooks make of January to June."
    from flights.features import features
    from flights.train import predict

    for month in range(1, 7):
        contract = read_contract(project.root / 'contracts' / 'flights.toml')
        data.commit(project.store, 'flights', year[month], batch=f'2013-{month:02}', contract=contract)
    for name in 'features', 'train':
        project.run(name)[0].check()
    model = project.load('model')
    return lambda flights: predict(model, features(flights))


def test_every_month_keeps_the_contract(project: Project, year: dict[int, pd.DataFrame]) -> None:
    contract = read_contract(project.root / 'contracts' / 'flights.toml')
    assert sum(len(enforce(contract, flights)) for flights in year.values()) == 336_776


def test_weather_is_older_than_the_departure_and_not_older_than_three_hours(
    year: dict[int, pd.DataFrame],
) -> None:
    flights = pd.concat(year.values())
    age = (flights['scheduled'] - flights['observed']).dropna()
    assert age.min() > pd.Timedelta(0) and age.max() <= pd.Timedelta('3h')
    assert len(age) > 0.99 * len(flights)


def test_the_model_reaches_three_quarters_on_july_which_it_has_not_seen(
    year: dict[int, pd.DataFrame], predict: Callable[[pd.DataFrame], np.ndarray]
) -> None:
    july = year[7].dropna(subset=['late'])
    found = classification(july['late'], predict(july))
    assert found['roc_auc'] >= 0.75
    assert abs(found['predicted_rate'] - found['rate']) < 0.05


def test_changing_what_is_known_only_afterwards_changes_no_prediction(
    year: dict[int, pd.DataFrame], predict: Callable[[pd.DataFrame], np.ndarray]
) -> None:
    from flights.ingest import complete, source

    raw, random = source('flights.csv.zip').query('month == 7'), np.random.default_rng(1)
    afterwards = ['dep_time', 'dep_delay', 'arr_time', 'arr_delay', 'air_time']
    other = raw.assign(**{name: random.permutation(raw[name]) for name in afterwards})
    changed, july = complete(other), year[7]
    assert (changed['late'].fillna(-1).to_numpy() != july['late'].fillna(-1).to_numpy()).mean() > 0.3
    assert (predict(changed) == predict(july)).all()
    assert (predict(july.drop(columns=[*afterwards, 'late'])) == predict(july)).all()


def test_a_prediction_does_not_depend_on_the_other_rows(
    year: dict[int, pd.DataFrame], predict: Callable[[pd.DataFrame], np.ndarray]
) -> None:
    july = year[7]
    one_by_one = [predict(july.iloc[[i]])[0] for i in range(0, 3000, 500)]
    assert one_by_one == list(predict(july)[range(0, 3000, 500)])


def test_an_airline_and_an_airport_that_are_new_are_predicted_all_the_same(
    year: dict[int, pd.DataFrame], predict: Callable[[pd.DataFrame], np.ndarray]
) -> None:
    found = predict(year[7].head(100).assign(carrier='ZZ', dest='XXX', seats=np.nan))
    assert ((found > 0) & (found < 1)).all()


def test_flights_that_never_arrived_are_kept_and_counted(project: Project) -> None:
    from flights.ingest import source

    raw = source('flights.csv.zip').query('month == 2')
    done, metrics = project.run('ingest', month=2)
    done.check()
    assert metrics['rows'] == len(raw) and metrics['never_arrived'] == raw['arr_delay'].isna().sum() > 1000
    kept = data.load(project.store, 'flights@latest').pandas(columns=['late'], batches=['2013-02'])
    assert len(kept) == len(raw) and kept['late'].isna().sum() == metrics['never_arrived']
    assert f'{metrics["never_arrived"]:,.0f} never arrived' in str(done.notebook['cells'])


def test_a_month_that_does_not_exist_is_refused_before_anything_is_written(project: Project) -> None:
    before = len(data.versions(project.store))
    done, _ = project.run('ingest', month=13)
    assert done.error is not None and 'month 13 does not exist; expected one of 1 to 12' in str(done.error)
    assert len(data.versions(project.store)) == before


def test_training_on_a_single_month_says_what_is_missing(
    project: Project, predict: Callable[[pd.DataFrame], np.ndarray]
) -> None:
    done, _ = project.run('features', month=1)
    done.check()
    done, _ = project.run('train')
    assert done.error is not None and 'expected two or more' in str(done.error)


def test_a_month_is_compared_as_the_settings_say(project: Project, year: dict[int, pd.DataFrame]) -> None:
    names = [f'2013-{month:02}' for month in range(1, 9)]
    for month, batch in enumerate(names, 1):
        kept = profile_table(year[month], {'batch': batch})
        save_profile(project.store, kept, dataset='flights', batch=batch)
    done, metrics = project.run('drift', month=8)
    done.check()
    found = find_report(project.store, 'late', '2013-08').drift
    assert (found.reference, found.batches) == (tuple(names[:6]), tuple(names))
    assert metrics['drifted'] == len(found.drifted) > 0
    settings = project.root / 'settings.ini'
    before = settings.read_text()
    settings.write_text(f'{before}\n[drift]\nreference = last 5\nignore = {", ".join(found.drifted)}\n')
    metrics = project.run('drift', month=8)[1]
    settings.write_text(before)
    assert metrics['drifted'] == 0
    assert find_report(project.store, 'late', '2013-08').drift.reference == tuple(names[1:6])


def test_a_month_in_kilometres_is_refused_and_mended_only_with_a_reason(
    project: Project, year: dict[int, pd.DataFrame]
) -> None:
    contract = read_contract(project.root / 'contracts' / 'flights.toml')
    before = data.find(project.store, 'flights@latest')
    kilometres = year[9].assign(distance=(year[9].distance * 1.609344).round().astype(int))
    with pytest.raises(ContractError, match='distance: found values above 5000'):
        data.commit(project.store, 'flights', kilometres, batch='2013-09', contract=contract)
    number = int(held_batches(project.store)['number'].iloc[-1])
    done, _ = project.run('mend', number=number)
    done.check()
    assert 'not released' in str(done.notebook['cells'][-1])
    assert data.find(project.store, 'flights@latest') == before
    done, metrics = project.run('mend', number=number, why='kilometres')
    done.check()
    kept = data.load(project.store, 'flights@latest').pandas(batches=['2013-09'])
    assert metrics['rows'] == len(kept) and kept.distance.tolist() == year[9].distance.tolist()


def test_a_month_with_another_fault_is_not_taken_for_one_in_kilometres(
    project: Project, year: dict[int, pd.DataFrame]
) -> None:
    contract = read_contract(project.root / 'contracts' / 'flights.toml')
    wrong = year[10].assign(distance=year[10].distance.where(year[10].dest != 'HNL', 9999))
    with pytest.raises(ContractError):
        data.commit(project.store, 'flights', wrong, batch='2013-10', contract=contract)
    number = int(held_batches(project.store)['number'].iloc[-1])
    done, _ = project.run('mend', number=number, why='kilometres')
    assert done.error is not None and 'expected kilometres' in str(done.error)
    assert held(project.store, number).status == 'held'


def test_a_champion_that_knows_the_month_is_not_compared_on_it(
    project: Project, predict: Callable[[pd.DataFrame], np.ndarray]
) -> None:
    from flights.features import ASIDE

    project.run('features', month=6)[0].check()
    project.run('train', iterations=3)[0].check()
    first = models.register(
        project.store, 'late', project.load('model'), metrics={'roc_auc': 0.7}, gates=(),
        datasets=[project.load('trained_on')], sample=project.load('rows').head(200).drop(columns=ASIDE),
    )  # fmt: skip
    with project.store.begin() as connection:
        move_alias(connection, 'model', 'late', 'champion', first.version, revision=0)
    done, _ = project.run('validate')
    done.check()
    told = str(done.notebook['cells'])
    assert 'late@1 has learned from 2013-06' in told and 'not_worse cannot tell' in told
