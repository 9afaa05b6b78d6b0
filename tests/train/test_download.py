"""Downloads from a server on this machine: good, torn, corrupt, dead, silent and resumed."""

import gzip
import hashlib
import http.server
import os
import socket
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("pooch")
pytest.importorskip("tqdm")

from fastconv.data import FashionMNIST, download, fashion_mnist_or_mini, files  # noqa: E402


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (200, 28, 28), np.uint8)  # does not compress: some 150 kB
LABELS = np.arange(200).astype(np.uint8) % 10
FILES = {
    f"{kind}-{what}-ubyte.gz": gzip.compress(idx(array), mtime=0)
    for kind in ("train", "t10k")
    for what, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS))
}
TORN = "train-images-idx3-ubyte.gz"  # the file the bad mirrors spoil
SIZE = len(FILES[TORN])


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths are /<mirror>/<file>; the mirror's name says what is wrong with it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):  # noqa: N802
        _, mirror, name = self.path.split("/")
        data, start = FILES.get(name), 0
        self.server.log.append((mirror, name, self.headers.get("Range")))
        if data is None or mirror == "missing":
            return self.send_error(404)
        if name == TORN:
            if mirror == "short":  # a shorter file, whole by its own account
                data = data[: SIZE // 2]
            if mirror == "corrupt":
                data = data[:1000] + bytes([data[1000] ^ 255]) + data[1001:]
        requested = self.headers.get("Range")
        if requested and mirror != "norange":
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if mirror == "cut" and name == TORN:  # the connection breaks in the middle
            body = body[: SIZE // 3]
            self.close_connection = True
        self.wfile.write(body)
        self.server.sent[mirror, name] = self.server.sent.get((mirror, name), 0) + len(body)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        s.log, s.sent = [], {}
        thread = threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield s
        s.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No data on this machine, no proxy, and the hashes of this file's data."""
    for name in ("FASTCONV_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "SYSTEM_FOLDERS", ())
    monkeypatch.setitem(
        download.SHA256, "FashionMNIST", {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()}
    )


@pytest.fixture
def mirrors(server, monkeypatch):
    def use(*names):
        urls = [n if "://" in n else f"http://127.0.0.1:{server.server_address[1]}/{n}/" for n in names]
        monkeypatch.setitem(download.MIRRORS, "FashionMNIST", tuple(urls))

    return use


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/"


def content(folder):
    return {f.name: f.read_bytes() for f in folder.rglob("*") if f.is_file()}


TRAIN_FILES = {n: d for n, d in FILES.items() if n.startswith("train")}


def test_download_once(tmp_path, server, mirrors, capfd):
    mirrors("good")
    ds = FashionMNIST(tmp_path / "data")
    np.testing.assert_array_equal(ds.images[:, 0], IMAGES)
    np.testing.assert_array_equal(ds.labels, LABELS)
    # what was asked for and nothing else: no part, no temporary
    assert content(tmp_path / "data") == TRAIN_FILES
    assert f"{TORN}: 100%" in capfd.readouterr().err  # the progress bar
    requests = len(server.log)
    assert requests == 2
    FashionMNIST(tmp_path / "data")
    assert len(server.log) == requests


def test_downloads_go_to_the_first_folder(tmp_path, monkeypatch, mirrors):
    mirrors("good")
    FashionMNIST(train=False)
    assert len(content(tmp_path / "cache" / "fastconv" / "data" / "FashionMNIST")) == 2
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "env"))
    FashionMNIST(train=True)
    assert content(tmp_path / "env" / "FashionMNIST") == TRAIN_FILES


@pytest.mark.parametrize("bad", ["short", "corrupt", "missing", "cut", "closed"])
def test_next_mirror(tmp_path, server, mirrors, bad):
    mirrors(closed_port() if bad == "closed" else bad, "good")
    np.testing.assert_array_equal(FashionMNIST(tmp_path).images[:, 0], IMAGES)
    assert content(tmp_path) == TRAIN_FILES
    assert server.sent["good", TORN] < SIZE if bad == "cut" else server.sent["good", TORN] == SIZE


@pytest.mark.parametrize(
    "bad, reason", [("short", "SHA256 hash"), ("corrupt", "SHA256 hash"), ("missing", "404")]
)
def test_bad_files_do_not_stay(tmp_path, mirrors, bad, reason):
    mirrors(bad)
    with pytest.raises(FileNotFoundError, match=reason):
        FashionMNIST(tmp_path)
    assert content(tmp_path) == {}


def test_broken_connection_is_resumed(tmp_path, server, mirrors):
    mirrors("cut")
    with pytest.raises(FileNotFoundError):
        FashionMNIST(tmp_path)
    part = tmp_path / "FashionMNIST" / f"{TORN}.part"
    got = part.stat().st_size
    assert SIZE // 4 < got <= SIZE // 3
    assert content(tmp_path) == {part.name: FILES[TORN][:got]}
    mirrors("good")
    np.testing.assert_array_equal(FashionMNIST(tmp_path).images[:, 0], IMAGES)
    assert content(tmp_path) == TRAIN_FILES
    assert server.log[-2] == ("good", TORN, f"bytes={got}-")
    assert server.sent["good", TORN] == SIZE - got


def leave_part(tmp_path, data, name=f"{TORN}.part", age=0.0):
    part = tmp_path / "FashionMNIST" / name
    part.parent.mkdir(parents=True)
    part.write_bytes(data)
    os.utime(part, (time.time() - age,) * 2)
    return part


@pytest.mark.parametrize("mirror", ["good", "norange"])
@pytest.mark.parametrize("length", [0, 1, SIZE - 1, SIZE])
def test_part_of_any_length(tmp_path, server, mirrors, mirror, length):
    """Also whole, which a server answers with 416, and with a server that sends everything anew."""
    leave_part(tmp_path, FILES[TORN][:length])
    mirrors(mirror)
    np.testing.assert_array_equal(FashionMNIST(tmp_path).images[:, 0], IMAGES)
    assert content(tmp_path) == TRAIN_FILES
    assert server.sent.get((mirror, TORN), 0) == (SIZE if mirror == "norange" else SIZE - length)


@pytest.mark.parametrize("junk", [b"junk" * 100, b"j" * (SIZE + 5)])
def test_wrong_part_is_thrown_away(tmp_path, mirrors, junk):
    """The only mirror is good: a part that spoils the hash must not be held against it."""
    leave_part(tmp_path, junk)
    mirrors("good")
    np.testing.assert_array_equal(FashionMNIST(tmp_path).images[:, 0], IMAGES)
    assert content(tmp_path) == TRAIN_FILES


def test_part_of_a_killed_process(tmp_path, server, mirrors):
    """Taken over once it has been silent for long; left alone while its process may be running."""
    mirrors("good")
    mine = leave_part(tmp_path, FILES[TORN][:1000], f"{TORN}.77-1.part", age=3600)
    FashionMNIST(tmp_path)
    assert content(tmp_path) == TRAIN_FILES and server.sent["good", TORN] == SIZE - 1000
    for name in TRAIN_FILES:
        (tmp_path / "FashionMNIST" / name).unlink()
    mine.write_bytes(b"somebody is writing here")
    FashionMNIST(tmp_path)
    assert content(tmp_path) == TRAIN_FILES | {mine.name: b"somebody is writing here"}


def test_corrupt_mirror_beside_a_running_download(tmp_path, server, mirrors):
    """A part that is not ours to continue must not make a bad mirror be asked for ever."""
    leave_part(tmp_path, b"somebody is writing here", f"{TORN}.77-1.part")
    mirrors("corrupt")
    with pytest.raises(FileNotFoundError):
        FashionMNIST(tmp_path)
    assert len(server.log) == 2


def test_interrupt_keeps_the_part(tmp_path, server, mirrors, monkeypatch):
    import requests

    original = requests.Response.iter_content

    def interrupted(self, *args):
        yield next(original(self, *args))
        raise KeyboardInterrupt

    mirrors("good")
    with monkeypatch.context() as m:
        m.setattr(requests.Response, "iter_content", interrupted)
        with pytest.raises(KeyboardInterrupt):
            FashionMNIST(tmp_path)
    assert content(tmp_path) == {f"{TORN}.part": FILES[TORN][: 1 << 14]}
    FashionMNIST(tmp_path)
    assert content(tmp_path) == TRAIN_FILES


def test_two_downloads_at_once(tmp_path, mirrors):
    mirrors("good")
    results = []
    threads = [threading.Thread(target=lambda: results.append(FashionMNIST(tmp_path))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 4 and all(np.array_equal(r.images[:, 0], IMAGES) for r in results)
    assert content(tmp_path) == TRAIN_FILES


def test_offline_is_quick_and_says_what_to_do(tmp_path, mirrors):
    urls = [closed_port(), closed_port()]
    mirrors(*urls)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as e:
        FashionMNIST(tmp_path / "data")
    assert time.monotonic() - start < 10
    for text in (*urls, str(tmp_path / "data"), "dataset-fashion-mnist", "$FASTCONV_DATA"):
        assert text in str(e.value)
    train, test, note = fashion_mnist_or_mini(tmp_path / "data")
    assert (len(train), len(test)) == (6000, 1000) and "FashionMNISTMini" in note


def test_silent_mirrors_and_name_servers_are_given_up_in_time(tmp_path, mirrors, monkeypatch):
    """Two mirrors accept the connection and say nothing; a third's name look-up hangs."""
    monkeypatch.setattr(download, "OFFLINE_SECONDS", 1.5)
    look_up, release = socket.getaddrinfo, threading.Event()

    def hang(host, *args, **kwargs):
        if host == "nowhere.invalid":
            release.wait(30)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        mirrors(url, url, "http://nowhere.invalid/")
        start = time.monotonic()
        with pytest.raises(FileNotFoundError, match="no answer within 0.5 s"):
            FashionMNIST(tmp_path)
        assert time.monotonic() - start < 3
    release.set()
    assert download.OFFLINE_SECONDS < 10


def test_download_false_asks_nobody(tmp_path, server, mirrors):
    mirrors("good")
    with pytest.raises(FileNotFoundError, match="download=False"):
        FashionMNIST(tmp_path, download=False)
    assert server.log == []


def test_without_pooch(tmp_path, mirrors, monkeypatch):
    mirrors("good")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=r'pip install "fastconv\[train\]"'):
        FashionMNIST(tmp_path)


def test_folder_that_cannot_be_written(tmp_path, mirrors):
    mirrors("good")
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(FileNotFoundError, match="data"):
        FashionMNIST(tmp_path / "data")


def test_published_hashes_are_sha256():
    assert set(download.SHA256) == set(download.MIRRORS) == {"FashionMNIST", "MNIST", "CIFAR10"}
    for hashes in download.SHA256.values():
        assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in hashes.values())
