"""Which pictures were decoded whole, remembered beside the data set, so that unchanged files are decoded once."""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

from reasoner import pictures
from reasoner.pictures import read_picture

#: Pictures between two writes: a commit costs as much as decoding a small one.
_BATCH = 100
#: What another loader found good has to be looked at again.
_LOADER = zlib.crc32(Path(pictures.__file__).read_bytes()) >> 1


class Verified:
    """Decodes pictures, but for those that were found good before and have kept size and date.

    The memory is `folder/pictures.sqlite`. Parallel processes may share it. Where it cannot be read or written (a
    read-only folder, a file system without locks) pictures are decoded each time, which costs time and nothing else.
    Bad pictures are never remembered: they are few, and a decoder may have been installed since.
    """

    def __init__(self, folder: str | Path) -> None:
        self.file = str(Path(folder) / "pictures.sqlite")
        self._db: sqlite3.Connection | None = None
        self._usable = True
        self._new: dict[str, tuple[int, int]] = {}

    def __reduce__(self) -> tuple[type[Verified], tuple[Path]]:
        return Verified, (Path(self.file).parent,)

    def __enter__(self) -> Verified:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()

    def check(self, path: str) -> None:
        """Raises `PictureError` when the picture cannot be used."""
        place, state = os.path.abspath(path), _state(path)
        if state is None or not self._knows(place, state):
            read_picture(path)
            if state is not None:
                self._new[place] = state
        if len(self._new) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Writes down what was found good since the last time."""
        rows = [(place, *state) for place, state in self._new.items()]
        self._new = {}
        try:
            if rows and (db := self._open()) is not None:
                with db:
                    db.executemany("INSERT OR REPLACE INTO good VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, UnicodeError):  # names that are no UTF-8 cannot be written
            self._usable = False

    def _knows(self, place: str, state: tuple[int, int]) -> bool:
        if self._new.get(place) == state:
            return True
        try:
            db = self._open()
            return (
                db is not None
                and state == db.execute("SELECT size, mtime FROM good WHERE path = ?", (place,)).fetchone()
            )
        except (sqlite3.Error, UnicodeError):  # names that are no UTF-8 cannot be looked up
            return False

    def _open(self) -> sqlite3.Connection | None:
        """The data base, made anew where it is damaged; None where there can be none."""
        for attempt in range(2):
            if self._db is not None or not self._usable:
                break
            try:
                self._db = _connect(self.file)
            except sqlite3.OperationalError:  # no such folder, or not writable
                self._usable = False
            except sqlite3.DatabaseError:
                self._usable = attempt == 0 and _removed(self.file)
        return self._db if self._usable else None


def _connect(file: str) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=10, check_same_thread=False)  # Ray may run a task in any thread
    try:
        db.execute("PRAGMA synchronous = OFF")  # a lost memory is made again
        if _loader(db) != _LOADER:
            with db:
                db.execute("BEGIN IMMEDIATE")
                if _loader(db) != _LOADER:  # nobody was faster
                    db.execute("DROP TABLE IF EXISTS good")
                    db.execute("CREATE TABLE good (path TEXT PRIMARY KEY, size INT, mtime INT) WITHOUT ROWID")
                    db.execute(f"PRAGMA user_version = {_LOADER}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _loader(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _removed(file: str) -> bool:
    try:
        os.unlink(file)
        return True
    except OSError:
        return False


def _state(path: str) -> tuple[int, int] | None:
    """Size and date of a file; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
