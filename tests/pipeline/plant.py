"""A site that lives: a PostgreSQL server with a real data folder, and a tree of configuration. It changes from day to day."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"
Tree = dict[str, tuple[object, ...]]
Sql = Callable[[str], None]


def tree(root: Path) -> Tree:
    """Everything a restore must bring back, by path: kind, mode, owner, group, nanoseconds of a file's time, size, content or target."""
    found: Tree = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            st = path.lstat()
            facts: tuple[object, ...] = (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns)
            if stat.S_ISREG(st.st_mode):
                facts = (*facts, st.st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            elif stat.S_ISLNK(st.st_mode):
                facts = (*facts, os.readlink(path))
            found[str(path.relative_to(root))] = facts
    return found


class Plant:
    """`database` and `configuration` below one folder."""

    def __init__(self, base: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self.database, self.configuration = base / "database", base / "iot-system"
        base.chmod(0o755)
        self.database.mkdir(mode=0o700)
        shutil.chown(self.database, USER, USER)
        _as_postgres("initdb", "-D", str(self.database), "-A", "trust", "-U", "postgres", "--no-sync", "--wal-segsize=1")
        (self.configuration / "config").mkdir(parents=True)
        (self.configuration / "k8s").mkdir()
        (self.configuration / ".env").write_text("BROKER=mqtt\n")
        with self.running() as sql:
            sql("CREATE TABLE readings (id serial PRIMARY KEY, sensor int, value float, note text)")

    @contextmanager
    def running(self) -> Iterator[Sql]:
        """The server runs; yields what runs SQL in it. It is stopped cleanly."""
        with tempfile.TemporaryDirectory(prefix="pgsock-") as sockets:
            shutil.chown(sockets, USER)
            options = f"-c listen_addresses='' -c unix_socket_directories={sockets} -c min_wal_size=2MB -c max_wal_size=4MB -c fsync=off"
            _as_postgres("pg_ctl", "-D", str(self.database), "-w", "-o", options, "-l", f"{sockets}/log", "start")
            try:
                yield lambda text: _as_postgres("psql", "-h", sockets, "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1", "-c", text)
            finally:
                _as_postgres("pg_ctl", "-D", str(self.database), "-w", "-m", "fast", "stop")

    def live(self, day: int) -> None:
        """One day's changes: rows come, change and go; configuration files, too."""
        with self.running() as sql:
            sql(
                f"INSERT INTO readings (sensor, value, note) SELECT {day}, random(), md5(random()::text) FROM generate_series(1, 500); "
                f"UPDATE readings SET value = value + 1 WHERE id % 97 = {day % 97}; DELETE FROM readings WHERE sensor < {day - 20}"
            )
        config = self.configuration / "config"
        (config / f"device-{day:02d}.json").write_text(f'{{"day": {day}, "limit": {self._random.random()}}}\n')
        (self.configuration / "k8s" / "deployment.yaml").write_text(f"replicas: {day}\n")
        if day % 5 == 4:
            self._random.choice(sorted(config.iterdir())).unlink()
        if day % 7 == 3:
            min(config.iterdir()).rename(config / f"renamed-{day}.json")


def _as_postgres(program: str, *arguments: str) -> None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)
    command = ["runuser", "-u", USER, "--", str(found[0]) if found else program, *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
