"""pytest-benchmark suites of the cpu backend, an op each: ``python -m pytest bench``. Not part of the test
run."""

from __future__ import annotations

import pytest
import workload
from engines import ENGINES, Unsupported

from fastconv.backends import settings

pytest.importorskip("pytest_benchmark")


def _jobs():
    jobs = workload.jobs("conv", ["lenet", "odd"], ("fwd", "bwd_data", "bwd_weight"))
    for suite, names in (("op", workload.OP_NAMES), ("net", ["lenet"])):
        jobs += workload.jobs(suite, names, workload.PASSES[suite])
    for job in jobs:
        yield pytest.param(
            job,
            id=f"{job['set']}-{job['name'].replace(' ', '-')}-{job['pass']}",
            marks=pytest.mark.benchmark(group=f"{job['suite']} {job['pass']}"),
        )


@pytest.fixture(scope="module")
def engine():
    return ENGINES["fastconv"](settings.get_num_threads())


@pytest.mark.parametrize("job", list(_jobs()))
def test_speed(benchmark, engine, job):
    try:
        call = engine.prepare(job)
    except Unsupported as e:
        pytest.skip(str(e))
    benchmark.extra_info["flops"] = workload.flops(job)
    benchmark.pedantic(call.run, setup=lambda: ((call.setup(),), {}), rounds=20, warmup_rounds=2)
