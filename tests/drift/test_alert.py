"""Alerts: sent once, wherever the settings say, by a real server too, and without a value of the data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from databases import new_project
from months import MONTHS, SECRET, arrive, month
from processes import race
from small import Run

from mlops_nb.core import SettingsError, StoreError, load_settings
from mlops_nb.drift import alerts, compare, decide, find_report, report
from mlops_nb.drift.alert import tell
from mlops_nb.profiles import save_profile
from mlops_nb.store import Store, open_store


@dataclass
class Receiver:
    "A server on this machine that remembers what it was told, and answers as it is asked to."

    url: str
    answers: list[int] = field(default_factory=list)  # the next ones; then 200
    got: list[dict[str, object]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            one.got.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
            one.keys.append(self.headers['Idempotency-Key'])
            code = one.answers.pop(0) if one.answers else 200
            self.send_response(code)
            if code == 302:
                self.send_header('Location', one.url.replace('hook', 'elsewhere'))
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *_: object) -> None:
            "Quiet."

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    one = Receiver(f'http://127.0.0.1:{server.server_port}/hook/TOKEN')
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield one
    server.shutdown()
    thread.join()
    server.server_close()


def project(root: Path, to: str, more: str = '') -> Store:
    new_project(root)
    path = root / 'settings.ini'
    path.write_text(f'{path.read_text()}[alerts]\nto = {to}\n{more}')
    store = open_store(load_settings(root))
    for one in MONTHS:
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    return store


def test_a_new_report_is_told_in_a_file_on_stdout_and_by_a_server(
    tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    store = project(tmp_path, f'stdout, told/alarms.jsonl, {receiver.url}')
    kept = arrive(store, 7)
    says = 'late 2013-07: drift. 1 of 2 columns: customer.'
    assert says in capsys.readouterr().out
    (line,) = (tmp_path / 'told' / 'alarms.jsonl').read_text().splitlines()
    (got,) = receiver.got
    for told in json.loads(line), got:
        assert told['text'].startswith(says)
        assert (told['model'], told['batch'], told['report'], told['columns']) == (
            'late',
            '2013-07',
            kept.id,
            ['customer'],
        )
        assert told['command'] == 'mlops-nb review show late 2013-07'
    assert [one['state'] for one in alerts(store)] == ['sent'] * 3


def test_no_value_of_the_data_is_told_whatever_the_template_asks_for(
    tmp_path: Path, receiver: Receiver
) -> None:
    (tmp_path / 'alarm.txt').write_text('{{ model }}: {{ columns }} {{ worse }} {{ segments }} {{ rows }}')
    store = project(tmp_path, receiver.url, 'template = alarm.txt\n')
    kept = arrive(store, 7)
    assert SECRET in kept.drift.to_json() and SECRET in kept.html
    assert SECRET not in json.dumps(receiver.got) and receiver.got[0]['text'] == "late: ['customer'] [] 0 300"


def test_a_report_is_told_once_however_often_it_is_made_and_a_lasting_change_too(
    tmp_path: Path, receiver: Receiver
) -> None:
    store = project(tmp_path, receiver.url)
    arrive(store, 7), arrive(store, 7)
    other = compare(month(7, ('a', 'b', SECRET)), MONTHS[:5])
    report(store, other, batch=month(7), reference=MONTHS, model='late', dataset='flights')
    arrive(store, 8), arrive(store, 9)
    assert [one['batch'] for one in receiver.got] == ['2013-07']


def test_what_did_not_drift_and_what_is_muted_raises_no_alarm(tmp_path: Path, receiver: Receiver) -> None:
    store = project(tmp_path, receiver.url)
    arrive(store, 7, ('a', 'b', 'c'))
    assert receiver.got == []
    first = arrive(store, 8)
    soon = date.today() + timedelta(days=9)
    decide(store, store.settings, first.id, 'mute', about=['customer'], until=soon, why='they merged')
    arrive(store, 9)
    assert [one['batch'] for one in receiver.got] == ['2013-08']


def test_a_server_that_fails_is_asked_again_with_the_same_key(tmp_path: Path, receiver: Receiver) -> None:
    store = project(tmp_path, '')
    kept = arrive(store, 7)
    store = replace(
        store, settings=replace(store.settings, alerts=replace(store.settings.alerts, to=(receiver.url,)))
    )
    receiver.answers = [503, 500]
    assert tell(store, kept.id, kept.drift, model='late', case=kept.case, pause=0) == []
    assert len(receiver.got) == 3 and len(set(receiver.keys)) == 1
    assert [one['state'] for one in alerts(store)] == ['sent']


@pytest.mark.parametrize(('answer', 'asked'), [(400, 1), (404, 1), (302, 1), (503, 3), (429, 3)])
def test_a_server_that_does_not_take_it_is_reported_without_its_secret_and_stops_nothing(
    answer: int, asked: int, tmp_path: Path, receiver: Receiver
) -> None:
    store = project(tmp_path, '')
    kept = arrive(store, 7)
    store = replace(
        store, settings=replace(store.settings, alerts=replace(store.settings.alerts, to=(receiver.url,)))
    )
    receiver.answers = [answer] * 9
    (wrong,) = tell(store, kept.id, kept.drift, model='late', case=kept.case, pause=0)
    assert f'it answered {answer}' in wrong and 'TOKEN' not in wrong
    assert len(receiver.got) == asked
    assert 'TOKEN' not in json.dumps(alerts(store), default=str)


def test_what_failed_is_sent_again_by_hand_once(tmp_path: Path, receiver: Receiver, mlops: Run) -> None:
    store = project(tmp_path, receiver.url)
    receiver.answers = [400]
    arrive(store, 7)
    done = mlops('review', 'alerts', folder=tmp_path)
    assert 'failed' in done.stdout and 'it answered 400' in done.stdout, done.stderr
    for _ in range(2):
        done = mlops('review', 'alerts', '--retry', '--json', folder=tmp_path)
        assert [one['state'] for one in json.loads(done.stdout)] == ['sent'], done.stderr
    assert len(receiver.got) == 2


def _tell(number: int, root: Path) -> int:
    store = open_store(load_settings(root))
    kept = find_report(store, 'late', '2013-07')
    return len(tell(store, kept.id, kept.drift, model='late', case=kept.case, pause=0))


def test_of_processes_that_tell_at_once_one_does(tmp_path: Path, receiver: Receiver) -> None:
    store = project(tmp_path, '')
    arrive(store, 7)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text().replace('to = \n', f'to = {receiver.url}\n'))
    assert race(_tell, tmp_path, processes=4) == [0, 0, 0, 0]
    assert len(receiver.got) == 1


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / 'told').write_text('a file, not a folder')
    store = project(tmp_path, '')
    kept = arrive(store, 7)
    place = str(tmp_path / 'told' / 'alarms.jsonl')
    store = replace(
        store, settings=replace(store.settings, alerts=replace(store.settings.alerts, to=(place,)))
    )
    (wrong,) = tell(store, kept.id, kept.drift, model='late', case=kept.case)
    assert 'did not take the alert' in wrong and issubclass(StoreError, Exception)


def test_what_lasts_and_is_only_to_be_watched_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / 'alarms.jsonl'
    store = project(tmp_path / 'shop', str(path), 'least = watch\n')
    for number, names in enumerate([('z',), ('z',), ('a', 'b', 'c'), ('z',)], 7):
        one = month(number, names)
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
        few = compare(one, MONTHS[:3])  # too few to know what is normal
        report(store, few, batch=one, reference=MONTHS[:3], model='late', dataset='flights')
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one['batch'], one['verdict']) for one in told] == [('2013-07', 'watch'), ('2013-10', 'watch')]


@pytest.mark.parametrize('line', ['to = ftp://x', 'template = nowhere.txt', 'least = normal', 'two = stdout'])
def test_settings_that_cannot_be_are_named(line: str, tmp_path: Path) -> None:
    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(f'{path.read_text()}[alerts]\n{line}\n')
    with pytest.raises(SettingsError, match=r'\[alerts\]'):
        load_settings(tmp_path)


def test_the_names_of_before_still_work_with_a_note(tmp_path: Path, mlops: Run) -> None:
    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(f'{path.read_text()}[alarms]\nto = stdout\n')
    with pytest.warns(DeprecationWarning, match=r'\[alarms\] is called \[alerts\] now'):
        assert load_settings(tmp_path).alerts.to == ('stdout',)
    assert '[alarms] is called [alerts] now' in mlops('doctor', folder=tmp_path).stdout
    done = mlops('review', 'alarms', folder=tmp_path, MLOPS_NB_ALARMS_TO='alerts.jsonl')
    assert done.returncode == 0 and 'deprecated' in done.stderr + done.stdout
    assert 'alarms' not in mlops('review', '--help', folder=tmp_path).stdout
