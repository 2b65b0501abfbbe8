"""What a user who is not root can and cannot do; run in a child that gives up its rights."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.pipeline.roundtrip import back_up

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

ROOT = Path(__file__).resolve().parents[2]
SOMEBODY = 65532


def as_somebody(base: Path, code: str) -> dict[str, object]:
    """Run code as a user without rights; `source`, `target` and the helpers are there, `answer` is returned."""
    script = (
        "import json, os, pickle, sys\n"
        "from pathlib import Path\n"
        "from tests.pipeline.roundtrip import *\n"
        "from iot_backup.errors import *\n"
        "source, target = Path(sys.argv[1]) / 'source', Path(sys.argv[1]) / 'target'\n"
        "answer = {}\n"
        "import tempfile\n"
        "with tempfile.TemporaryDirectory() as warm:  # modules that are imported late may not be readable later\n"
        "    os.mkdir(warm + '/a'); os.mkdir(warm + '/b'); bring_back(back_up(Path(warm + '/a')), Path(warm + '/b'))\n"
        f"os.setgroups([]); os.setgid({SOMEBODY}); os.setuid({SOMEBODY})\n" + textwrap.dedent(code) + "\nprint(json.dumps(answer))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(base)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}", "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path("/") and folder.stat().st_mode & 0o055 != 0o055 and folder.stat().st_uid == 0:
            folder.chmod(folder.stat().st_mode | 0o055)
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, SOMEBODY, SOMEBODY)
    return tmp_path


def test_unreadable_files_and_folders_are_noted_and_the_rest_is_stored(base: Path) -> None:
    source = base / "source"
    (source / "closed").mkdir(mode=0o700)
    (source / "closed" / "inside").write_bytes(b"x")
    (source / "secret").write_bytes(b"x")
    (source / "secret").chmod(0o600)
    (source / "open").write_bytes(b"x")
    answer = as_somebody(
        base,
        """
        backup = back_up(source)
        answer = {"unreadable": backup.packed.notes["unreadable"].examples, "partial": backup.packed.partial,
                  "rows": [os.fsdecode(row.path) for row in rows(backup)]}
        """,
    )
    assert answer["partial"] is True
    assert answer["unreadable"] == ["closed: Permission denied", "secret: Permission denied"]
    assert answer["rows"] == [".", "closed", "open"]


def test_an_unreadable_root_says_whose_it_is(base: Path) -> None:
    answer = as_somebody(
        base,
        """
        import threading
        os.chmod(source, 0o300)
        root = os.open(source, os.O_PATH | os.O_DIRECTORY)
        from iot_backup.worker.walk import Walk, unreadable_root
        answer["message"] = unreadable_root(os.fstat(root)).message
        """,
    )
    assert "belongs to 65532:65532, mode 0300" in str(answer["message"])
    assert "runAsUser: 65532" in str(answer["message"])


def test_owners_that_cannot_be_set_are_counted_and_setuid_is_not_given_to_the_wrong_one(base: Path) -> None:
    source = base / "source"
    (source / "foreign").write_bytes(b"x")
    os.chown(source / "foreign", 1234, 1234)
    (source / "foreign").chmod(0o6755)
    (source / "own").write_bytes(b"x")
    os.chown(source / "own", SOMEBODY, SOMEBODY)
    (source / "own").chmod(0o4755)
    answer = as_somebody(
        base,
        """
        done = bring_back(back_up(source), target)
        answer = {"owners": done.refused.owners_refused, "modes": done.refused.modes_refused,
                  "foreign": oct(os.stat(target / "foreign").st_mode & 0o7777), "own": oct(os.stat(target / "own").st_mode & 0o7777)}
        """,
    )
    assert answer == {"owners": 1, "modes": 0, "foreign": "0o755", "own": "0o4755"}


def test_closed_folders_of_our_own_are_opened_for_the_restore_and_closed_again(base: Path) -> None:
    answer = as_somebody(
        base,
        """
        os.mkdir(source / "d"); (source / "d" / "f").write_bytes(b"new")
        backup = back_up(source)
        os.mkdir(target / "d"); (target / "d" / "f").write_bytes(b"old"); os.chmod(target / "d", 0)
        bring_back(backup, target)
        answer = {"mode": oct(os.stat(target / "d").st_mode & 0o777), "content": (target / "d" / "f").read_text()}
        """,
    )
    assert answer == {"mode": oct(0o777 & ~_umask()), "content": "new"}


def test_a_target_of_somebody_else_is_refused_with_the_way_out(base: Path) -> None:
    os.chown(base / "target", 0, 0)
    answer = as_somebody(
        base,
        """
        (source / "f").write_bytes(b"x")
        try:
            bring_back(back_up(source), target)
        except AccessDenied as error:
            answer["message"] = error.message
        """,
    )
    assert "refuses user 65532 at 'f'" in str(answer["message"])


def test_a_root_that_belongs_to_somebody_else_but_is_ours_by_group_is_filled(base: Path) -> None:
    """A fresh claim with fsGroup: root:65532, mode 2775."""
    os.chown(base / "target", 0, SOMEBODY)
    (base / "target").chmod(0o2775)
    (base / "source" / "f").write_bytes(b"x")
    os.chown(base / "source" / "f", SOMEBODY, SOMEBODY)
    answer = as_somebody(
        base,
        """
        done = bring_back(back_up(source), target)
        answer = {"content": (target / "f").read_text(), "owners": done.refused.owners_refused, "modes": done.refused.modes_refused}
        """,
    )
    assert answer == {"content": "x", "owners": 1, "modes": 1}


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_a_closed_folder_that_keeps_its_mode_is_closed_again(base: Path) -> None:
    (base / "source" / "folder").mkdir()
    (base / "source" / "folder" / "file").write_bytes(b"x")
    answer = as_somebody(
        base,
        """
        (target / "folder").mkdir(mode=0o000)
        done = bring_back(back_up(source), target, rules=Rules("SkipExisting"))
        answer["mode"] = (target / "folder").stat().st_mode & 0o777
        answer["files"] = done.written.files
        (target / "folder").chmod(0o700)
        answer["content"] = (target / "folder" / "file").read_text()
        """,
    )
    assert answer == {"mode": 0, "files": 1, "content": "x"}


def test_mirror_clears_folders_that_their_mode_keeps_even_their_owner_out_of(base: Path) -> None:
    answer = as_somebody(
        base,
        """
        from iot_backup.worker.mirror import Mirror
        (target / "closed" / "inner").mkdir(parents=True)
        (target / "closed" / "inner" / "file").write_bytes(b"x")
        (target / "closed" / "inner").chmod(0)
        (target / "closed").chmod(0)
        answer["removed"] = bring_back(back_up(source), target, rules=Rules("Mirror", mirror=Mirror())).removed
        answer["left"] = os.listdir(target)
        """,
    )
    assert answer == {"removed": 3, "left": []}


def test_mirror_of_a_part_leaves_the_mode_of_other_folders_alone(base: Path) -> None:
    answer = as_somebody(
        base,
        """
        from iot_backup.worker.mirror import Mirror
        from iot_backup.worker.selection import Selection
        (source / "config").mkdir()
        (source / "config" / "file").write_bytes(b"x")
        (target / "private").mkdir()
        (target / "private" / "key").write_bytes(b"x")
        (target / "private").chmod(0)
        asked = Selection(["/config/"])
        bring_back(back_up(source), target, rules=Rules("Mirror", asked, Mirror(asked)))
        answer["mode"] = (target / "private").stat().st_mode & 0o777
        """,
    )
    assert answer == {"mode": 0}


@pytest.mark.parametrize(("asked", "covered"), [("['/config/']", ""), ("", "[], ['/mysql/']")], ids=["not asked for", "not in the backup"])
def test_mirror_does_not_enter_a_folder_of_somebody_else_in_which_nothing_can_go(base: Path, asked: str, covered: str) -> None:
    (base / "target" / "mysql").mkdir(mode=0o700)
    answer = as_somebody(
        base,
        f"""
        from iot_backup.worker.mirror import Mirror
        from iot_backup.worker.selection import Selection
        (source / "config").mkdir()
        asked, covered = Selection({asked}), Selection({covered})
        bring_back(back_up(source), target, rules=Rules("Mirror", asked, Mirror(asked, covered)))
        answer["left"] = sorted(os.listdir(target))
        """,
    )
    assert answer == {"left": ["config", "mysql"]}


@pytest.mark.parametrize("rule", ["Overwrite", "Mirror"])
def test_a_folder_that_even_its_owner_may_not_write_to_makes_way(base: Path, rule: str) -> None:
    answer = as_somebody(
        base,
        f"""
        from iot_backup.worker.mirror import Mirror
        (source / {"way" if rule == "Overwrite" else "other"!r}).write_bytes(b"x")
        (target / "way" / "inner").mkdir(parents=True)
        (target / "way" / "inner" / "file").write_bytes(b"x")
        for folder in ("way/inner", "way"):
            (target / folder).chmod(0o555)
        bring_back(back_up(source), target, rules=Rules({rule!r}, mirror=Mirror() if {rule!r} == "Mirror" else None))
        answer["way"] = (target / "way").exists()
        """,
    )
    assert answer == {"way": rule == "Overwrite"}


def test_a_folder_that_stays_after_mirror_looked_into_it_has_its_own_mode_again(base: Path) -> None:
    answer = as_somebody(
        base,
        """
        from iot_backup.worker.mirror import Mirror
        from iot_backup.worker.selection import Selection
        (target / "shut").mkdir()
        for name in ("file", "kept.cache"):
            (target / "shut" / name).write_bytes(b"x")
        (target / "shut").chmod(0o555)
        bring_back(back_up(source), target, rules=Rules("Mirror", mirror=Mirror(covered=Selection([], ["*.cache"]))))
        answer["left"], answer["mode"] = os.listdir(target / "shut"), (target / "shut").stat().st_mode & 0o777
        """,
    )
    assert answer == {"left": ["kept.cache"], "mode": 0o555}


def test_a_folder_of_somebody_else_where_nothing_is_to_be_written_stops_nothing(base: Path) -> None:
    """In place: what the backup could not read either is passed over, counted, and the rest is restored."""
    for tree in ("source", "target"):
        (base / tree / "closed").mkdir(mode=0o700)
        (base / tree / "closed").chmod(0o700)
    (base / "source" / "after").write_bytes(b"x")
    answer = as_somebody(
        base,
        """
        backup = back_up(source)
        done = bring_back(backup, target)
        answer = {"noted": backup.packed.notes["unreadable"].count, "modes": done.refused.modes_refused,
                  "folders": done.written.folders, "after": (target / "after").read_text()}
        """,
    )
    assert answer == {"noted": 1, "modes": 1, "folders": 1, "after": "x"}


def test_a_folder_of_somebody_else_where_something_is_to_be_written_is_told(base: Path) -> None:
    (base / "target" / "closed").mkdir(mode=0o700)
    (base / "target" / "closed").chmod(0o700)
    answer = as_somebody(
        base,
        """
        os.mkdir(source / "closed"); (source / "closed" / "file").write_bytes(b"x")
        try:
            bring_back(back_up(source), target)
        except AccessDenied as error:
            answer["message"] = error.message
        """,
    )
    assert "refuses user 65532 at 'closed'" in str(answer["message"])


def test_a_hard_link_to_a_file_in_a_folder_that_is_closed_to_its_owner_by_then_is_restored(base: Path) -> None:
    """A folder that cannot be listed can still be reached through; in one that cannot, the content is written again."""
    source = base / "source"
    for name, mode in (("drop", 0o311), ("shut", 0o600)):
        (source / name).mkdir()
        (source / name / "x").write_text(name)
        os.link(source / name / "x", source / f"{name}z")
        for path in (source / name, source / name / "x"):
            os.chown(path, SOMEBODY, SOMEBODY)
        (source / name).chmod(mode)
    (base / "backup").write_bytes(pickle.dumps(back_up(source)))
    answer = as_somebody(
        base,
        """
        done = bring_back(pickle.loads((target.parent / "backup").read_bytes()), target).written
        answer = {"links": done.hard_links, "apart": done.links_apart, "drop": (target / "dropz").read_text(),
                  "shut": (target / "shutz").read_text(), "same": os.path.samefile(target / "drop" / "x", target / "dropz")}
        """,
    )
    assert answer == {"links": 1, "apart": 1, "drop": "drop", "shut": "shut", "same": True}


def test_a_plan_of_a_folder_that_lets_its_owner_see_names_alone_is_no_error(base: Path) -> None:
    """The restore opens it; a plan changes nothing, and takes what it cannot look at for what is not there."""
    answer = as_somebody(
        base,
        """
        from iot_backup.worker.comparing import Comparison
        from iot_backup.worker.mirror import Mirror
        for tree in (source, target):
            (tree / "f").mkdir(); (tree / "f" / "x").touch()
        (target / "f").chmod(0o400)
        backup = back_up(source)
        root = os.open(target, os.O_RDONLY)
        comparison = Comparison(root, Rules("Mirror", mirror=Mirror(acts=False)))
        for row in index_of(backup):
            comparison.add(row)
        comparison.finish()
        answer = {"add": comparison.found.add, "mode": (target / "f").stat().st_mode & 0o777}
        bring_back(backup, target)
        """,
    )
    assert answer == {"add": 1, "mode": 0o400}


def test_what_cannot_be_looked_at_and_may_be_what_was_asked_for_is_missing_content(base: Path) -> None:
    """Names can be listed in such a folder, and nothing behind them be looked at."""
    (base / "source" / "mnt" / "nas").mkdir(parents=True)
    (base / "source" / "mnt" / "nas" / "precious").write_text("x")
    (base / "source" / "mnt").chmod(0o744)
    answer = as_somebody(
        base,
        """
        from iot_backup.worker.selection import Selection
        notes = [back_up(source, selection=Selection(lines)).packed.notes.get("unreadable") for lines in (["mnt/nas/"], ["/etc/"], ["*.csv"])]
        answer["noted"] = [noted.examples if noted else [] for noted in notes]
        """,
    )
    assert answer == {"noted": [["mnt/nas: Permission denied"], [], ["mnt/nas: Permission denied"]]}
