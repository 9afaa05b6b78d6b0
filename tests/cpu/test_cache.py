"""What is kept on disk: whose folders and files are used, what is removed, the commands; what is said while
kernels compile, and how that is interrupted."""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastconv import cli
from fastconv.backends import compiling, disk
from fastconv.backends.cpu.codegen import jit
from fastconv.backends.cpu.runtime import machine

PACKAGE = Path(compiling.__file__).parents[2]
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner and mode")
SOMEBODY = 4711  # a user that nobody here is


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The three places where the cache may be: ``given``, ``home`` (its parent) and ``temporary``."""
    for name in ("given", "home", "temporary"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(tmp_path / "given"))
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(disk.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    disk.warn.cache_clear()
    return tmp_path


def someone_elses(monkeypatch, *folders):
    """Let ``folders`` look as if they belonged to another user."""
    plain = {name: getattr(Path, name) for name in ("stat", "lstat")}

    def owned(name):
        def look(path, **options):
            info = plain[name](path, **options)
            return os.stat_result([*info[:4], SOMEBODY, *info[5:10]]) if path in folders else info

        return look

    for name in plain:
        monkeypatch.setattr(Path, name, owned(name))


# ------------------------------------------------------------------------------------------------- whose
# folders
def test_the_first_folder_that_can_be_used_is(place, monkeypatch):
    assert disk.folder("kernels", "k") == place / "given" / "kernels" / "k"
    monkeypatch.delenv("FASTCONV_CACHE_DIR")
    assert disk.folder("kernels", "k") == place / "home" / "fastconv" / "kernels" / "k"
    (place / "home" / "fastconv").rename(place / "gone")
    (place / "home" / "fastconv").write_text("a file in the way")
    found = disk.folder("kernels", "k")
    assert found.relative_to(place / "temporary").parts[1:] == ("kernels", "k")


@posix
def test_folders_and_files_are_made_for_their_user_only(place, monkeypatch):
    monkeypatch.delenv("FASTCONV_CACHE_DIR")
    old = os.umask(0)
    try:
        folder = disk.folder("kernels", "k")
        disk.write_atomically(folder / "file", b"data")
    finally:
        os.umask(old)
    for path in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o600
    assert disk.read(folder / "file") == b"data"


@posix
@pytest.mark.parametrize("where", ["given", "given/kernels", "given/kernels/k"])
def test_a_folder_of_another_user_is_not_used_and_that_is_said_once(place, monkeypatch, where):
    (place / where).mkdir(parents=True, exist_ok=True)
    someone_elses(monkeypatch, place / where)
    with pytest.warns(
        UserWarning, match=f"{place / where} belongs to another user.*home/fastconv is used"
    ) as said:
        for _ in range(3):
            assert disk.folder("kernels", "k") == place / "home" / "fastconv" / "kernels" / "k"
    assert len(said) == 1


@posix
@pytest.mark.parametrize("what", ["another user's", "a link", "a link to nothing"])
def test_nothing_is_used_that_waits_in_the_temporary_directory(place, monkeypatch, what):
    monkeypatch.delenv("FASTCONV_CACHE_DIR")
    (place / "home" / "fastconv").write_text("a file in the way")
    trap = place / "temporary" / f"fastconv-{os.geteuid()}"
    if what == "another user's":
        trap.mkdir()
        someone_elses(monkeypatch, trap)
    else:
        (place / "there").mkdir()
        trap.symlink_to(place / ("there" if what == "a link" else "nowhere"))
    if what == "a link to nothing":
        assert disk.folder("kernels", "k") is None
    else:
        with pytest.warns(UserWarning, match=f"{trap} .*every process compiles its kernels anew"):
            assert disk.folder("kernels", "k") is None
    assert not any((place / "there").iterdir()) if what == "a link" else not (place / "nowhere").exists()


@posix
@pytest.mark.parametrize("link", ["home/fastconv", "given/kernels", "given/kernels/k"])
def test_no_folder_that_is_made_here_may_be_a_link(place, monkeypatch, link):
    if link.startswith("home"):
        monkeypatch.delenv("FASTCONV_CACHE_DIR")
    (place / "there").mkdir()
    (place / link).parent.mkdir(exist_ok=True)
    (place / link).symlink_to(place / "there")
    with pytest.warns(UserWarning, match=f"{place / link} is a link"):
        assert not disk.folder("kernels", "k").is_relative_to(place / link)
    assert not any((place / "there").iterdir())


@posix
def test_a_folder_named_by_the_user_may_be_a_link_and_have_any_mode_that_keeps_others_out(place, monkeypatch):
    link = place / "link"
    link.symlink_to(place / "given")
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(link))
    for mode in (0o700, 0o755, 0o775, 0o1777):
        (place / "given").chmod(mode)
        assert disk.folder("kernels") == link / "kernels"
        assert stat.S_IMODE((place / "given").stat().st_mode) == mode
    (place / "given").chmod(0o777)
    with pytest.warns(UserWarning, match=f"{link} can be written by other users"):
        assert disk.folder("kernels") == place / "home" / "fastconv" / "kernels"


@posix
def test_a_folder_of_ours_that_others_can_write_is_closed(place):
    folder = disk.folder("kernels")
    folder.chmod(0o777)
    assert disk.folder("kernels") == folder and stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_the_user_named_that_cannot_be_written_is_told(place, monkeypatch):
    (place / "file").write_text("")
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(place / "file"))
    with pytest.warns(UserWarning, match="kernel cache: .*file.*; .*fastconv is used instead"):
        assert disk.folder("kernels") == place / "home" / "fastconv" / "kernels"


@posix
def test_a_file_that_others_can_have_written_is_not_read(tmp_path, monkeypatch):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"data")
    link.symlink_to(path)
    for mode, data in ((0o600, b"data"), (0o644, b"data"), (0o620, b""), (0o602, b"")):
        path.chmod(mode)
        assert disk.read(path) == data
    path.chmod(0o600)
    assert disk.read(link) == b"" and disk.read(tmp_path / "none") == b"" and disk.read(None) == b""
    monkeypatch.setattr(disk, "user_id", lambda: SOMEBODY)
    assert disk.read(path) == b""


def test_an_unfinished_file_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        disk.write_atomically(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


class _Trap:
    def __reduce__(self):
        return exec, ("import fastconv; fastconv.caught = True",)


def test_a_kernels_file_may_only_name_what_kernels_are_made_of(tmp_path, monkeypatch):
    import fastconv

    payload = pickle.dumps((_Trap(),))
    cache = jit.DiskCache("trap")
    monkeypatch.setattr(cache, "file_of", lambda *_: tmp_path / "file")
    disk.write_atomically(tmp_path / "file", hashlib.sha256(payload).digest() + payload)
    assert cache.load_overload(None, jit.cpu_target.target_context) is None
    assert not hasattr(fastconv, "caught")
    pickle.loads(payload)  # the trap is one
    assert fastconv.__dict__.pop("caught")


_DAMAGED = ("[1, 2, 3]", '["a", 1]', "[0, 1]", "[NaN, 1]", "[-1, 1e9]", "[Infinity, 1]", "3", "{}", "null")


@pytest.mark.parametrize("text", ["", "[1", "{}", "[1, 2]", "3", *(f'{{"1": {v}}}' for v in _DAMAGED)])
def test_damaged_measurements_are_made_again(tmp_path, monkeypatch, text):
    monkeypatch.setattr(jit, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(machine, "peak", lambda threads: 1e9)
    monkeypatch.setattr(machine, "copy_rate", lambda threads: 2e9)
    disk.write_atomically(tmp_path / "rates.json", text.encode())
    machine.rates.cache_clear()
    try:
        assert machine.rates(1) == (1e9, 2e9)
        assert json.loads((tmp_path / "rates.json").read_text()) == {"1": [1e9, 2e9]}
    finally:
        machine.rates.cache_clear()


def test_measurements_of_other_processes_stay(tmp_path):
    """Two processes measure different things at once, and both find all of it afterwards."""
    path, measured = tmp_path / "store.json", []

    def get(store, key, value):
        return store.get(key, lambda v: isinstance(v, int), lambda: measured.append(key) or value)

    one, two = disk.Measurements(path), disk.Measurements(path)
    assert (get(one, "a", 1), get(two, "b", 2), get(one, "a", 3)) == (1, 2, 1)
    assert [get(disk.Measurements(path), key, 0) for key in "ab"] == [1, 2] and measured == ["a", "b"]
    assert get(disk.Measurements(None), "c", 5) == 5


# ------------------------------------------------------------------------------------------------- old
# folders
def _versions(parent, ages):
    """Folders as kernels of other versions have them, last used so many days ago."""
    for i, days in enumerate(ages):
        folder = parent / f"{i:016x}"
        folder.mkdir()
        (folder / "kernel.bin").write_bytes(bytes(1000))
        os.utime(folder, (time.time() - days * disk.DAY,) * 2)
    return [parent / f"{i:016x}" for i in range(len(ages))]


def test_folders_that_nobody_used_for_long_are_removed(tmp_path):
    fresh, old, current = _versions(tmp_path, [29, 31, 100])
    (tmp_path / "something of the user").mkdir()
    os.utime(tmp_path / "something of the user", (0, 0))
    (current / "killed.tmp").write_text("")
    os.utime(current / "killed.tmp", (0, 0))
    (current / "being written.tmp").write_text("")
    disk.prune(current)
    assert sorted(p.name for p in tmp_path.iterdir()) == [fresh.name, current.name, "something of the user"]
    assert sorted(p.name for p in current.iterdir()) == ["being written.tmp", "kernel.bin"]


def test_of_many_folders_those_used_last_stay_and_those_of_today(tmp_path):
    others = _versions(tmp_path, [2 + i for i in range(disk.KEPT + 3)])
    current = tmp_path / ("f" * 16)
    current.mkdir()
    disk.prune(current)
    assert sorted(tmp_path.iterdir()) == [*others[: disk.KEPT], current]
    for folder in others[: disk.KEPT]:
        disk.used(folder)
    today = [tmp_path / f"{i:016x}" for i in range(100, 103)]
    for folder in today:
        folder.mkdir()
    disk.prune(current)
    assert len(list(tmp_path.iterdir())) == disk.KEPT + 3 + 1


def test_a_folder_that_another_process_removes_is_no_error(tmp_path):
    gone, current = _versions(tmp_path, [100, 0])
    done = []
    threads = [threading.Thread(target=lambda: done.append(disk.prune(current))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [None] * 4 and list(tmp_path.iterdir()) == [current]
    assert disk.age(gone) == 0 and disk.folders(gone) == []


def test_commands_show_and_remove_what_was_made_here_and_nothing_else(place, capsys):
    kernels, cuda = disk.folder("kernels"), disk.folder("cuda", "NVIDIA-H100")
    (kernels / "0123456789abcdef").mkdir()
    (kernels / "0123456789abcdef" / "kernel.bin").write_bytes(bytes(3 << 20))
    (cuda / "fastest.json").write_text("{}")
    (place / "given" / "data").mkdir()
    (place / "given" / "data" / "images").write_bytes(bytes(1000))
    assert cli.main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert f"{place / 'given'}: 2 files, 3.0 MB" in out
    assert re.search(r"kernels.0123456789abcdef  1 files, 3.0 MB, last used 20\d\d-", out)
    assert re.search(r"cuda.NVIDIA-H100  1 files, 0.0 MB, last used 20\d\d-", out)
    assert cli.main(["cache", "clear"]) == 0
    assert f"{place / 'given'}: 2 files, 3.0 MB removed" in capsys.readouterr().out
    assert [p.name for p in (place / "given").rglob("*") if p.is_file()] == ["images"]
    assert cli.main(["cache", "info"]) == 0 and ": 0 files, 0.0 MB" in capsys.readouterr().out


def test_commands_without_any_folder(place, monkeypatch, capsys):
    monkeypatch.setattr(disk, "roots", lambda: iter(()))
    assert cli.main(["cache", "info"]) == 0 and "every process compiles" in capsys.readouterr().out
    assert cli.main(["cache", "clear"]) == 0 and "0 files" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- what is
# said
class _Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not compiled yet, and where every second is long enough."""
    for name, value in (
        ("shown", True),
        ("state", compiling.State()),
        ("PATIENCE", 0.0),
    ):
        monkeypatch.setattr(compiling, name, value)


def test_a_long_compilation_is_told_once(fresh, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work = compiling.watched(lambda x: time.sleep(0.01) or x, lambda: "compiling")
    assert [work(i) for i in range(4)] == [0, 1, 2, 3]
    assert sys.stderr.getvalue() == "fastconv: compiling\n"
    compiling.state.said = False
    with compiling.silent():
        work(5)
    assert sys.stderr.getvalue() == "fastconv: compiling\n"


def test_a_short_one_is_not(fresh, monkeypatch):
    monkeypatch.setattr(compiling, "PATIENCE", 5.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    compiling.watched(lambda: None, lambda: "compiling")()
    assert sys.stderr.getvalue() == ""


def test_a_terminal_shows_a_count_while_it_goes_on_and_nothing_after(fresh, monkeypatch):
    monkeypatch.setattr(sys, "stderr", _Screen())
    monkeypatch.setenv("COLUMNS", "41")
    seen = []
    inner = compiling.watched(lambda: None, lambda: "compiling")  # what a kernel calls is compiled inside

    def compile():
        inner()
        seen.append(sys.stderr.getvalue().rpartition("\r")[2])

    work = compiling.watched(compile, lambda: "compiling")
    for _ in range(3):
        work()
    assert seen == ["", f"{'fastconv: compiling: 1 done':40}", f"{'fastconv: compiling: 2 done':40}"]
    assert sys.stderr.getvalue().endswith("\r" + " " * 40 + "\r")


@pytest.mark.parametrize("screen", [None, "closed"])
def test_without_a_screen_kernels_compile(fresh, monkeypatch, screen):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if screen else None)
    work = compiling.watched(lambda: 1, lambda: "compiling")
    assert (work(), work()) == (1, 1)
    monkeypatch.undo()


# ------------------------------------------------------------------------------------------------- Ctrl-C
def _interrupted(work):
    """Seconds from Ctrl-C after 0.2 s to the exception, which is given too."""
    sent = []

    def send():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.2, send)
    timer.start()
    try:
        work()
    except BaseException as e:
        return time.perf_counter() - sent[0], e
    finally:
        timer.join()
    return None


def _wait(seconds=20.0):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(0.01)


class _Swallows:
    """Exceptions in here are printed and lost, as in every function that C calls."""

    def __del__(self):
        _wait(1.0)


def _call_by_c():
    ctypes.CFUNCTYPE(None)(lambda: _wait(1.0))()
    _wait()


def _finalizer():
    _Swallows()
    _wait()


def _general_except():
    try:
        _wait()
    except BaseException:
        raise ValueError("the compiler's own trouble") from None


@pytest.mark.parametrize("work", [_wait, _call_by_c, _finalizer, _general_except])
def test_compilation_ends_at_ctrl_c(work, capfd):
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    seconds, e = _interrupted(compiling.watched(work, str))
    assert type(e) is KeyboardInterrupt and seconds < 5
    assert signal.getsignal(signal.SIGINT) is before and sys.unraisablehook is hook
    assert capfd.readouterr().err == ""
    time.sleep(0.3)  # nothing comes afterwards


def test_a_handler_that_only_notes_ctrl_c_is_respected():
    noted = []
    before = signal.signal(signal.SIGINT, lambda *_: noted.append(1))
    try:
        assert _interrupted(compiling.watched(lambda: _wait(0.5), str)) is None
    finally:
        signal.signal(signal.SIGINT, before)
    assert noted == [1]


def test_who_notes_ctrl_c_may_end_compilation(monkeypatch):
    noted = []

    def check():
        if noted:
            raise KeyboardInterrupt("noted")

    before = signal.signal(signal.SIGINT, lambda *_: noted.append(1))
    monkeypatch.setattr(compiling, "check", check)
    try:
        seconds, e = _interrupted(compiling.watched(_wait, str))
        assert e.args == ("noted",) and seconds < 5 and noted == [1]
        with pytest.raises(KeyboardInterrupt):  # the next kernel is not begun
            compiling.watched(lambda: pytest.fail("compiles"), str)()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_compilation_leaves_signals_alone(monkeypatch):
    monkeypatch.setattr(compiling, "check", lambda: pytest.fail("not here"))
    results = []
    thread = threading.Thread(target=lambda: results.append(compiling.watched(lambda: 7, str)()))
    thread.start()
    thread.join()
    assert results == [7]


def _start(folder, *words):
    environment = {**os.environ, "FASTCONV_CACHE_DIR": str(folder), "PYTHONPATH": str(PACKAGE)}
    return subprocess.Popen(
        [sys.executable, "-m", "fastconv", *words],
        env=environment,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
def test_training_that_compiles_says_so_ends_at_ctrl_c_and_can_be_resumed(tmp_path):
    """The first command of a new user. All kernels take 20 s; the process ends long before."""
    process = _start(
        tmp_path, "train", "lenet", "--epochs", "1", "--no-download", "--out", str(tmp_path / "out")
    )
    said = ""
    while "compiling kernels, once" not in said:
        said += process.stderr.readline() or pytest.fail(f"ended without a word: {said}")
    kernels = len(list(tmp_path.rglob("*.bin")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Stopped (interrupted); the same command continues" in out, err
    assert "Traceback" not in err and "ignored" not in err
    assert len(list(tmp_path.rglob("*.bin"))) <= kernels + 3 and not list(tmp_path.rglob("*.tmp"))
    assert (tmp_path / "out" / "lenet.npz").exists()


def test_training_is_not_saved_in_the_middle_of_a_step(tmp_path):
    """Ctrl-C while a kernel compiles in the second step: the checkpoint is of the first, the history says
    interrupted."""
    import numpy as np

    import fastconv as fc

    steps = []

    class Net(fc.nn.Module):
        def __init__(self):
            super().__init__()
            self.f = fc.nn.Linear(3, 2)

        def forward(self, x):
            steps.append(1)
            if len(steps) == 2:
                compiling.watched(lambda: signal.raise_signal(signal.SIGINT) or _wait(5.0), str)()
            return self.f(x)

    data = fc.data.DataLoader((np.ones((12, 3), np.float32), np.arange(12) % 2), 4)
    with fc.backend("numpy"):
        history = fc.train.fit(
            Net(), data, epochs=1, checkpoint=tmp_path / "c.npz", checkpoint_every=1, progress=False
        )
    assert history.stopped == "interrupted" and len(steps) == 2
    assert fc.load(tmp_path / "c.npz")["at"]["batch"] == 1
    assert compiling.check is None
