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
from pathlib import Path

import pytest
from conftest import COMMAND, Run

from mlops_nb.core import load_settings
from mlops_nb.review import find_report
from mlops_nb.store import open_store

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


def test_the_summary_has_a_row_for_each_month(tour: tuple[Path, list[dict], str]) -> None:
    _, rows, _ = tour
    assert [row['batch'] for row in rows] == MONTHS
    assert sum(row['rows'] for row in rows) == 336_776
    assert [row['champion'] for row in rows[6:]] == [1, 1, 1, 2, 2, 2]


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
    out, progress = process.communicate(timeout=120)
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


def test_the_decision_is_recorded_with_who_and_why(tour: tuple[Path, list[dict], str], mlops: Run) -> None:
    (decision,) = json.loads(mlops('review', 'decisions', 'late', '--json', folder=tour[0]).stdout)
    assert decision['action'] == 'retrain' and decision['batch'] == '2013-09'
    assert decision['who'] and decision['why']
    entries = json.loads(mlops('audit', '--limit', 1000, '--json', folder=tour[0]).stdout)
    assert any(entry['action'].endswith('retrain') or 'decide' in entry['action'] for entry in entries)


def test_september_is_seen_with_the_months_since_june_and_what_to_expect_of_the_model(
    tour: tuple[Path, list[dict], str],
) -> None:
    found = find_report(open_store(load_settings(tour[0])), 'late', '2013-09').drift
    assert (found.reference, found.batches) == (tuple(MONTHS[:6]), tuple(MONTHS[:9]))
    (expected,) = [one for one in found.performance if one.metric == 'roc_auc']
    assert expected.realised is None and expected.low < expected.value < expected.high


def test_runs_show_parameters_metrics_and_dataset_versions(
    tour: tuple[Path, list[dict], str], mlops: Run
) -> None:
    shown = json.loads(mlops('runs', 'list', '--flow', 'TrainFlow', '--json', folder=tour[0]).stdout)
    assert [run['params.month'] for run in shown] == [9, 6]
    assert all(run['metrics.roc_auc'] > 0.6 for run in shown)
    assert 'flights@9' in shown[0]['datasets'] and 'flights@6' in shown[1]['datasets']


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
    refused = mlops('models', 'promote', 'late@3', 'champion', '--why', 'try', folder=folder)
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
    assert len(models) == 2
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
