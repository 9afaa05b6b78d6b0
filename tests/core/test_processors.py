"""Which processors are fast, and what caches they have, read from descriptions of several machines."""

import pytest

from fastconv.backends import disk, processors, settings


def describe(root, files):
    """A folder like Linux's ``/sys/devices``."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def cpu(name, values):
    """Files of processors 0, 1, ...: one value each."""
    return {f"system/cpu/cpu{i}/{name}": value for i, value in enumerate(values)}


def nothing(name):
    """A system that knows no numbers by name, as all but macOS."""


M1 = {"hw.perflevel0.logicalcpu": 4, "hw.perflevel0.l2cachesize": 12 << 20, "hw.perflevel0.cpusperl2": 4}
RK3588 = cpu("cpu_capacity", [530] * 4 + [1024] * 4)  # A55 and A76
PHONE = cpu("cpu_capacity", [250] * 4 + [870] * 3 + [1024])  # A55, A78 and X1
INTEL = {"cpu_core/cpus": "0-3", "cpu_atom/cpus": "4-7"}


@pytest.mark.parametrize(
    "text, expected", [("0-3,8", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("none", set())]
)
def test_lists_of_processors(text, expected):
    assert processors.parse_list(text) == expected


@pytest.mark.parametrize(
    "files, allowed, expected",
    [
        ({}, range(8), range(8)),
        (INTEL, range(8), range(4)),
        (INTEL, [2, 3, 6], [2, 3]),
        (INTEL, [5, 6], [5, 6]),  # efficiency cores only
        (RK3588, range(8), range(4, 8)),
        (RK3588, [0, 1, 2, 3, 7], [0, 1, 2, 3, 7]),  # a large one alone would take longer
        (RK3588, [0, 1, 7], [7]),
        (PHONE, range(8), range(4, 8)),
        (cpu("cpu_capacity", [1024] * 4), range(4), range(4)),
        (cpu("cpu_capacity", [1024] * 3), range(4), range(4)),  # one has none
        (cpu("cpu_capacity", ["?"] * 4), range(4), range(4)),
    ],
)
def test_performance_cores(tmp_path, files, allowed, expected):
    assert processors.performance_cpus(allowed, describe(tmp_path, files), nothing) == set(expected)


def test_performance_cores_of_apple(tmp_path):
    assert processors.performance_cpus(range(8), tmp_path, M1.get) == set(range(4))
    assert processors.performance_cpus(range(2), tmp_path, M1.get) == {0, 1}
    assert processors.performance_cpus(range(8), tmp_path, {"hw.perflevel0.logicalcpu": 0}.get) == set(
        range(8)
    )


def _cache(size, shared, level=2, siblings=None):
    files = {
        f"cache/index{level}/{name}": text
        for name, text in zip(("level", "size", "shared_cpu_list"), (level, size, shared))
    }
    return {**files, **({"topology/thread_siblings_list": siblings} if siblings else {})}


@pytest.mark.parametrize(
    "description, expected",
    [
        ([], 1 << 20),
        ([_cache("1024K", "0")], 1 << 20),
        ([_cache("1024K", "0-1", siblings="0-1"), _cache("1024K", "0-1", siblings="0-1")], 1 << 20),
        ([_cache("1024K", "0-3")] * 4, 1 << 18),  # four Cortex-A72 share one
        ([_cache("2048K", "0"), _cache("512K", "1")], 1 << 19),
        ([_cache("32K", "0", level=1), _cache("32768K", "0-1", level=3)], 1 << 20),  # no second level
        ([_cache("0K", "0")], 1 << 20),
        ([_cache("a lot", "0")], 1 << 20),
        ([_cache("512K", "")], 1 << 19),
    ],
)
def test_second_level_cache(tmp_path, description, expected):
    for i, files in enumerate(description):
        describe(tmp_path / f"system/cpu/cpu{i}", files)
    assert processors.l2_bytes(range(len(description)), tmp_path, nothing) == expected


def test_second_level_cache_of_macs(tmp_path):
    assert processors.l2_bytes(range(4), tmp_path, M1.get) == 3 << 20
    assert processors.l2_bytes(range(4), tmp_path, {"hw.l2cachesize": 1 << 18}.get) == 1 << 18


def test_efficiency_cores_are_used_if_the_user_says_so(monkeypatch):
    monkeypatch.setattr(settings, "performance_cpus", lambda: frozenset({0}))
    monkeypatch.setattr(settings, "chosen_threads", None)
    monkeypatch.setitem(settings.ENVIRONMENT, "FASTCONV_NUM_THREADS", None)
    assert settings.get_num_threads() == 1
    most = settings.available_cpus()
    monkeypatch.setitem(settings.ENVIRONMENT, "FASTCONV_NUM_THREADS", str(most))
    assert settings.get_num_threads() == most


@pytest.mark.parametrize("tag", ["cpython-310", "pypy311-pp73"])
def test_kernels_of_another_python_are_found_elsewhere(monkeypatch, tag):
    before = disk.key("cpu", "1.0")
    assert disk.key("cpu", "1.0") == before
    monkeypatch.setattr("sys.implementation.cache_tag", tag)
    assert disk.key("cpu", "1.0") != before
