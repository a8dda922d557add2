"""A PostgreSQL cluster of our own: made in a temporary directory, on loopback only, and gone afterwards.

Tests and the chaos run need a server that they may stop and restart. It is a direct child of this process,
not a daemon of `pg_ctl`, so that its pid is known and nothing stays behind. PostgreSQL refuses to run as
root: there its processes run as the user `postgres` or `nobody`.

    uv run python -m tests.postgres_cluster -- COMMAND ...      with the cluster's URL in its environment
"""

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, Literal

URL_VARIABLE = "LITEVAULT_TEST_POSTGRES_URL"
ROLE = "litevault"
START_SECONDS = 60
STOP_SECONDS = 60
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

StopMode = Literal["fast", "immediate"]
SIGNAL_OF_MODE = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

SETTINGS = {"listen_addresses": "127.0.0.1", "max_connections": "200", "log_checkpoints": "off"}
# A crash of the machine loses data, one of the server does not: `synchronous_commit` has to stay on for that.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class PostgresUnavailableError(RuntimeError):
    """The cluster cannot be made or started; the message says what to do."""


def find_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`, the newest where there are several; `None` without any."""
    if found := shutil.which("initdb"):
        # The link's target: Debian and others link single programs, never the whole folder.
        return Path(found).resolve().parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


def find_unprivileged_user() -> pwd.struct_passwd | None:
    """Who owns the cluster; `None` where it is whoever runs this, because that is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresUnavailableError("PostgreSQL does not run as root, and there is no user postgres or nobody here")


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresCluster:
    """Use it through `postgres_cluster()`, which makes it, starts it and takes it away."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise PostgresUnavailableError(
                "PostgreSQL's initdb is neither on the PATH nor under /usr/lib/postgresql: "
                "install the Debian package `postgresql` (apt-get install postgresql)"
            )
        self._binaries = binaries
        self._user = find_unprivileged_user()
        self.folder = folder
        self._data = folder / "data"
        self._log = folder / "server.log"
        self._settings = SETTINGS | ({} if durable else NOT_DURABLE)
        self._server: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """Of the server's first process; its children go with it."""
        if self._server is None:
            raise PostgresUnavailableError("the cluster is stopped")
        return self._server.pid

    @property
    def url(self) -> str:
        """Of the database that every cluster has, for making others."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql+asyncpg://{ROLE}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        if self._user:
            shutil.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        # C.UTF-8 and not C: upper and lower case must hold beyond ASCII, as on a real server.
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--username={ROLE}"]
        made = self._run("initdb", f"--pgdata={self._data}", *options)
        if made.returncode != 0:
            raise PostgresUnavailableError(f"initdb failed:\n{made.stdout}")

    def start(self) -> None:
        """Returns when connections are accepted; the port stays the same from the first start on."""
        if self._server is not None:
            raise PostgresUnavailableError("the cluster runs already")
        if self.port:
            self._start_server(self.port)
            return
        for tries_left in (2, 1, 0):
            port = find_free_port()
            try:
                self._start_server(port)
            except PostgresUnavailableError:
                # Someone else may have taken the port between our look and the server's.
                if not tries_left:
                    raise
            else:
                self.port = port
                return

    def stop(self, mode: StopMode = "fast") -> None:
        """`immediate` is a crash: nothing is flushed, the next start recovers. Safe to repeat."""
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(SIGNAL_OF_MODE[mode])
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def create_database(self, name: str) -> str:
        """An empty database; returns its URL."""
        address = [f"--host={self.folder}", f"--port={self.port}", f"--username={ROLE}"]
        made = self._run("createdb", *address, "--", name)
        if made.returncode != 0:
            raise PostgresUnavailableError(f"createdb failed:\n{made.stdout}")
        return self.url_of(name)

    def _identity(self) -> dict[str, Any]:
        place = {"cwd": self.folder, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        if self._user is None:
            return place
        return place | {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self._binaries / program), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, **self._identity())

    def _start_server(self, port: int) -> None:
        settings = self._settings | {"port": str(port), "unix_socket_directories": str(self.folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        with self._log.open("ab") as log:
            self._server = self._spawn(command, log)
        try:
            self._wait_until_ready(self._server)
        except BaseException:
            self.stop("immediate")
            raise

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C is for the tests, which still need the server to end well.
        return subprocess.Popen(command, stdout=log, start_new_session=True, **self._identity())

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready(server.pid):
            if server.poll() is not None or time.monotonic() > deadline:
                lines = self._log.read_text(errors="replace").splitlines()[-15:]
                raise PostgresUnavailableError("the server did not start; its last words:\n" + "\n".join(lines))
            time.sleep(0.02)

    def _is_ready(self, pid: int) -> bool:
        """As `pg_ctl` does it: the server writes its state into the eighth line of this file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The pid is checked because a crash leaves the file of the server before this one.
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


@contextmanager
def postgres_cluster(*, durable: bool = True) -> Iterator[PostgresCluster]:
    """A running cluster; stopped and removed at the end, whatever happened inside."""
    with tempfile.TemporaryDirectory(prefix="litevault-pg-", ignore_cleanup_errors=True) as folder:
        cluster = PostgresCluster(Path(folder), durable=durable)
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop("immediate")


class SignalForwarder:
    """Until the command starts a signal ends this process and the cluster; then it is the command's."""

    def __init__(self) -> None:
        self._command: subprocess.Popen[bytes] | None = None
        self._is_starting = False
        self._early: list[int] = []
        for number in FORWARDED:
            signal.signal(number, self.receive)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        # A signal may come when the command runs and Popen has not yet returned: it must not get lost, nor
        # end this process and leave the command behind.
        self._is_starting = True
        # A session of its own: Ctrl-C would reach it twice otherwise, from the terminal and from us.
        self._command = subprocess.Popen(command, env=environment, start_new_session=True)
        for number in self._early:
            self._command.send_signal(number)
        return self._command.wait()

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self._command is not None:
            self._command.send_signal(number)
        elif self._is_starting:
            self._early.append(number)
        else:
            raise SystemExit(128 + number)


def run_with_cluster(command: Sequence[str], *, durable: bool) -> int:
    """The command's exit code, or 128 + its signal, as a shell has it."""
    forwarder = SignalForwarder()
    with postgres_cluster(durable=durable) as cluster:
        code = forwarder.run(command, os.environ | {URL_VARIABLE: cluster.url})
        return code if code >= 0 else 128 - code


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.postgres_cluster", description="Runs COMMAND beside a PostgreSQL.")
    parser.add_argument("--not-durable", action="store_true", help="without fsync: faster, for tests")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="put -- before it")
    chosen = parser.parse_args(arguments)
    try:
        return run_with_cluster(chosen.command, durable=not chosen.not_durable)
    except (PostgresUnavailableError, FileNotFoundError) as error:
        print(f"tests.postgres_cluster: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
