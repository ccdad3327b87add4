"""The command `mlops-nb` in a process that is forked from one which has imported the libraries already.

So it takes a twentieth of a second of the processor instead of two thirds. The rest is as it is for a command
that people start: arguments, folder, environment, standard streams, exit code, a process of its own. What
Python or a library reads when it starts needs a start from nothing: see `STARTS`.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

COMMAND = str(Path(sys.executable).parent / 'mlops-nb')
# What takes long to import, starts no thread and reads no environment: not Metaflow, IPython, papermill.
PRELOAD = (
    'numpy', 'pandas', 'pyarrow.csv', 'pyarrow.dataset', 'pyarrow.parquet', 'duckdb', 'jinja2', 'rich.table',
    'sqlite3', 'sqlalchemy.orm', 'sqlalchemy.dialects.sqlite', 'alembic.command', 'google.protobuf.message',
    'requests',
    'scipy.stats', 'matplotlib.pyplot', 'sklearn.ensemble', 'sklearn.linear_model', 'sklearn.pipeline',
    'sklearn.model_selection', 'skops.io', 'mlops_nb.cli.main', 'mlops_nb.data.dataset',
    'mlops_nb.drift.two_files', 'mlops_nb.notebooks.exports', 'mlops_nb.models.aliases',
    'mlops_nb.drift.reports',
)  # fmt: skip
# Variables that are read before a command's own first line: with them, it is started from nothing.
STARTS = 'PYTHON', 'MPL', 'OPENBLAS', 'OMP_', 'ARROW', 'JE_', 'LD_'
# What is forked has one thread: none of a library's own.
ALONE = {'OPENBLAS_NUM_THREADS': '1', 'JE_ARROW_MALLOC_CONF': 'background_thread:false'}


class Commands:
    "A process that stands ready to become commands."

    def __init__(self, preload: Sequence[str] = PRELOAD) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            alone = {'stdin': subprocess.DEVNULL, 'start_new_session': True, 'pass_fds': [number]}
            command = [sys.executable, __file__, str(number), *preload]
            self.process = subprocess.Popen(command, env=os.environ | ALONE, **alone)  # type: ignore[call-overload]
        self.socket, self.answers = ours, ours.makefile()
        self.seconds = 0.0  # of the processor, that commands took

    def run(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        "Run `mlops-nb` with these arguments; raises TimeoutExpired, which ends it and all that it started."
        asked = {'arguments': [COMMAND, *arguments], 'folder': str(folder), 'environment': dict(environment)}
        sys.audit('mlops_nb.command', asked['arguments'])
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            handed = array.array('i', [out.fileno(), err.fileno()])
            self.socket.sendmsg([b'.'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])
            self.socket.sendall(json.dumps(asked).encode() + b'\n')
            self.socket.settimeout(timeout)
            try:
                answer = self.answers.readline()
            except TimeoutError:
                self.close()
                raise subprocess.TimeoutExpired(asked['arguments'], timeout) from None
            assert answer, 'the process that commands are forked from is gone'
            told = json.loads(answer)
            self.seconds += told['seconds']
            for stream in out, err:
                stream.seek(0)
            texts = [stream.read().decode().replace('\r\n', '\n') for stream in (out, err)]
        return subprocess.CompletedProcess(asked['arguments'], told['code'], *texts)

    def close(self) -> None:
        "End it, and what runs in it."
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.answers.close()
        self.socket.close()


def become(asked: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    "In the child: be the command."
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked['environment'])
    time.tzset()
    os.chdir(asked['folder'])
    sys.argv = list(asked['arguments'])
    sys.path[0] = str(Path(COMMAND).parent)
    sys.modules['__main__'] = types.ModuleType('__main__')
    sys.modules['__main__'].__file__ = COMMAND
    if numpy := sys.modules.get('numpy'):
        numpy.random.seed()
    code: object = 1
    try:
        from mlops_nb.cli.main import main

        code = main()
    except SystemExit as e:
        code = e.code
    except BaseException:  # noqa: BLE001 it is what Python shows when a program fails
        traceback.print_exc()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit((code or 0) & 0xFF)


def serve(connection: socket.socket, preload: Sequence[str]) -> None:
    "Fork a child for each command that is asked for, one after the other, until nobody asks."
    for name in preload:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    with connection.makefile('rb') as lines:
        while True:
            _, told, _, _ = connection.recvmsg(1, socket.CMSG_LEN(8))
            if not told:
                return
            streams = array.array('i', told[0][2])
            asked = json.loads(lines.readline())
            assert threading.active_count() == 1 and len(list(Path('/proc/self/task').glob('*'))) < 2
            child = os.fork()
            if child == 0:
                connection.close()
                lines.close()
                become(asked, streams)
            for stream in streams:
                os.close(stream)
            _, status, used = os.wait4(child, 0)
            answer = {'code': os.waitstatus_to_exitcode(status), 'seconds': used.ru_utime + used.ru_stime}
            connection.sendall(json.dumps(answer).encode() + b'\n')


if __name__ == '__main__':
    with socket.socket(fileno=int(sys.argv[1])) as the_connection:
        serve(the_connection, sys.argv[2:])
