"""Training steps recorded as a graph, and the upload of batches.

The simulator keeps a list of launches in place of a graph. Without a GPU, a stand-in for the driver notes the
calls.
"""

from __future__ import annotations

import sys
import threading
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import SIMULATED, needs_cuda

import fastconv as fc
from fastconv import data, nn, optim, train

if fc.cuda.is_available():
    from fastconv.backends.cuda.runtime import context, device, h2d, launch, layout, memory, pool

pytestmark = needs_cuda
with_stand_in = pytest.mark.skipif(not SIMULATED, reason="there is a GPU")
EPOCHS, IMAGES, BATCH = 2, 14, 4  # the last batch of an epoch has two images


@pytest.fixture
def engine():
    return fc.backends.load("cuda")


@pytest.fixture
def recorded(engine, monkeypatch):
    """How many steps were recorded."""
    seen, record = SimpleNamespace(steps=0), launch.record

    def note(work):
        seen.steps += 1
        return record(work)

    monkeypatch.setattr(launch, "record", note)
    return seen


class Own(nn.Module):
    """A module that is not of fastconv."""

    def __init__(self, forward):
        super().__init__()
        self.run = forward

    def forward(self, x):
        return self.run(x)


def fit(graph=None, kind="SGD", extra=(), loss=None, **options):
    """Train a net with dropout, batch norm and a schedule: every bit of what comes out, and the losses."""
    fc.manual_seed(3)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((IMAGES, 1, 4, 4)).astype(np.float32), rng.integers(0, 3, IMAGES)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        *extra,
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32, 3),
    ).to("cuda")
    params = net.parameters()
    settings = {"SGD": {"momentum": 0.9, "nesterov": True}, "AdamW": {}, "NAdam": {}}[kind]
    optimizer = getattr(optim, kind)(params, 0.01, **settings)
    loader = data.DataLoader((x, y), BATCH, shuffle=True, seed=1)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=EPOCHS * len(loader))
    callback = options.pop("callback", None)
    history = train.fit(
        net,
        loader,
        epochs=EPOCHS,
        optimizer=optimizer,
        scheduler=schedule,
        loss=loss,
        progress=False,
        graph=graph,
        callback=callback and (lambda _: callback(net, optimizer)),
        **options,
    )
    state = {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
    averages = [
        s.numpy().tobytes() if isinstance(s, fc.Tensor) else s
        for v in optimizer.state.values()
        for s in v.values()
    ]
    return state, averages, [p["train_loss"] for p in history], fc.random.get_state()


@pytest.mark.full
@pytest.mark.parametrize("kind", ["SGD", "AdamW", "NAdam"])
def test_the_same_bits_as_ordinary_steps(kind, recorded):
    """Replays see new batches, seeds of dropout, learning rates and step counts.

    The last batch of an epoch, which has another shape, is an ordinary step between them.
    """
    want = fit(False, kind)
    assert recorded.steps == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(True, kind) == want
    assert recorded.steps == 1


@pytest.mark.full
def test_ignored_labels(recorded):
    """The mean is over the labels that count, which differ from batch to batch."""
    loss = nn.CrossEntropyLoss(ignore_index=2, label_smoothing=0.1)
    assert fit(True, loss=loss) == fit(False, loss=loss)
    assert recorded.steps == 1


@pytest.mark.full
def test_a_replay_allocates_and_launches_nothing_but_copies_of_the_batch(engine, monkeypatch):
    counts, start = [], launch.launch

    def replay(self, inputs, replay=engine.Graph.replay):
        started, taken = [], fc.cuda.memory_stats()["taken"]
        monkeypatch.setattr(
            layout, "launch", lambda kernel, *args: (started.append(kernel), start(kernel, *args))
        )
        replay(self, inputs)
        counts.append((len(started), fc.cuda.memory_stats()["taken"] - taken))
        monkeypatch.setattr(layout, "launch", start)

    monkeypatch.setattr(engine.Graph, "replay", replay)
    fit(True)
    assert counts == [(2, 0)] * (EPOCHS * (IMAGES // BATCH) - 2)


@pytest.mark.full
def test_where_it_is_the_default(recorded):
    """On for nets, losses and optimizers of fastconv.

    The Python of others may do what a graph would not repeat.
    """
    fit()
    assert recorded.steps == 1
    fit(extra=[Own(lambda x: x * 2)])
    fit(loss=lambda out, y: nn.functional.cross_entropy(out, y))
    assert recorded.steps == 1
    fit(True, extra=[Own(lambda x: x * 2)])
    assert recorded.steps == 2
    with fc.backend("numpy"), pytest.raises(ValueError, match="graph=True needs the backend cpu or cuda"):
        train.fit(nn.Linear(2, 2), [(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))], graph=True)


@pytest.mark.full
@pytest.mark.parametrize(
    "why, options",
    [
        ("read on the host", {"extra": [Own(lambda x: x * x.mean().item())]}),
        (
            "read on the host",
            {"loss": lambda out, y: nn.functional.nll_loss(nn.functional.log_softmax(out, 1), y)},
        ),
        ("drawn outside dropout", {"extra": [Own(lambda x: x + fc.rand(*x.shape).to(x.device))]}),
    ],
)
def test_what_cannot_be_recorded_is_done_as_usual(why, options, recorded):
    want = fit(False, **options)
    with pytest.warns(UserWarning, match=f"the step cannot be recorded as a graph .*{why}") as given:
        assert fit(True, **options) == want
    assert len(given) == 1 and recorded.steps == 0


@pytest.mark.full
def test_class_weights(recorded):
    """The weights that a mean divides by are picked by labels on the device."""
    weight = fc.tensor(np.array([0.5, 1, 3], np.float32), device="cuda")

    def loss(out, y):
        return nn.functional.cross_entropy(out, y, weight, label_smoothing=0.1)

    assert fit(True, loss=loss) == fit(False, loss=loss) and recorded.steps == 1


class Counted(nn.Module):
    """Works in place: on a buffer, on what comes in, and on a row of it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", fc.zeros(1))

    def forward(self, x):
        self.steps += 1
        x = x * 1
        x[0] *= 2
        x += self.steps * 0.1
        return x


@pytest.mark.full
def test_changes_in_place_are_recorded(recorded):
    assert fit(True, extra=[Counted()]) == fit(False, extra=[Counted()]) and recorded.steps == 1


@pytest.mark.full
def test_a_replay_raises_the_versions_of_what_it_changes():
    """Versions rise as in ordinary steps.

    A tape made before then notices that its weights have changed, and optimized nets pack them again.
    """

    def versions(graph):
        seen = []

        def note(net, optimizer):
            tensors = [
                *net.parameters(),
                *net.buffers(),
                *(s["momentum_buffer"] for s in optimizer.state.values()),
            ]
            seen.append([t.memory.version for t in tensors])

        fit(graph, callback=note)
        return seen

    assert versions(True) == versions(False)


@pytest.mark.full
@pytest.mark.parametrize("moment", ["begin", "end", "launch"])
def test_a_driver_that_refuses(moment, engine, monkeypatch):
    """One warning, and the same bits: the step that was to be recorded is done after all."""
    want, record = fit(False), launch.record

    def refuse():
        raise RuntimeError("cuGraphLaunch: CUDA_ERROR_NOT_SUPPORTED")

    def refusing(work):
        if moment == "begin":
            refuse()
        result = record(work)[1]
        return (refuse, result) if moment == "launch" else refuse()

    monkeypatch.setattr(launch, "record", refusing)
    with pytest.warns(UserWarning, match="cannot be recorded as a graph .*CUDA_ERROR_NOT_SUPPORTED") as given:
        assert fit(True) == want
    assert len(given) == 1


def freeze(net, optimizer):
    net[0].weight.requires_grad = False


def replace(net, optimizer):
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.full
@pytest.mark.parametrize("change", [freeze, replace])
def test_changes_between_epochs_are_recorded_anew(change, recorded):
    want = fit(False, callback=change)
    assert fit(True, callback=change) == want
    assert recorded.steps == 2


def spoil(net, optimizer):
    net[-1].weight.data[:] = np.nan


@pytest.mark.full
def test_memory_that_is_short_goes_to_others(engine):
    want = fit(False)
    with pytest.warns(UserWarning, match="its memory is needed for other things") as given:
        assert fit(True, callback=lambda *_: pool.close_graphs()) == want
    assert len(given) == 1


@pytest.mark.full
def test_a_loss_that_is_not_finite_stops():
    with pytest.raises(
        RuntimeError, match="the loss is nan at step 1 of epoch 2: fit with graph=False tells where"
    ):
        fit(True, callback=spoil)


@pytest.mark.full
def test_a_checkpoint_in_mid_epoch(tmp_path):
    """A run that ends and goes on records anew, and comes to the same bits."""
    want, path = fit(True), tmp_path / "run.npz"
    fit(True, checkpoint=path, time_limit=0.0)
    for _ in range(3):
        got = fit(True, checkpoint=path, checkpoint_every=2, callback=lambda *_: True)
    assert got == want


# ------------------------------------------------------------------------------------------- other threads
@pytest.mark.parametrize("phase", ["rehearse", "record", "refresh"])
def test_another_thread_computes_as_usual_while_a_graph_is_made(phase, engine):
    """Its arrays are not in the graph's pool, its launches not recorded; it may read; its optimizer steps."""
    x = fc.ones(5, device="cuda")
    graph, meanwhile, seen = engine.Graph([]), threading.Event(), SimpleNamespace()

    def other():
        seen.x = fc.tensor(np.arange(4, dtype=np.float32)).to("cuda")
        seen.y = seen.x * 3
        seen.dropped = nn.functional.dropout(seen.y, 0.5)
        seen.values = seen.y.numpy()
        seen.weight = fc.ones(3, device="cuda").requires_grad_()
        seen.weight.grad = fc.ones(3, device="cuda")
        optim.SGD([seen.weight], lr=0.5).step()
        seen.recording = fc.backends.recording.get()
        pool.close_graphs()  # as where memory is short
        meanwhile.set()

    def step():
        y = nn.functional.dropout(x * 2, 0.25)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return y

    if phase == "refresh":
        graph.record(lambda: nn.functional.dropout(x * 2, 0.25))
        graph.refresh([7], step)
    else:
        result = getattr(graph, phase)(step)
        assert result.array.base.pool is not pool.shared and len(graph.seeds) == 1
    assert meanwhile.is_set() and not seen.recording
    for t in (seen.x, seen.y, seen.dropped):
        assert t.array.base.pool is pool.shared
    np.testing.assert_array_equal(seen.values, [0, 3, 6, 9])
    np.testing.assert_array_equal(seen.weight.numpy(), [0.5] * 3)
    assert graph.reads == 0 and not graph.closed and context.current().graph is None
    if phase == "record":
        seen.x.data[:] = 100.0
        graph.replay([])  # computes the step anew, and nothing of the other thread's
        np.testing.assert_array_equal(seen.y.numpy(), [0, 3, 6, 9])
        assert set(result.numpy()) <= {np.float32(0), np.float32(2 / 0.75)}
    pool.close_graphs()
    assert graph.closed
    with pytest.raises(RuntimeError, match="its memory was given back"):
        graph.replay([])


def test_a_table_that_a_recording_uploads_is_there_at_once(engine):
    """Tables are kept for all threads: another one may find it while the first still records."""
    table, seen = np.arange(7.0) + 0.125, []

    def step():
        memory.constant(table)
        thread = threading.Thread(target=lambda: seen.append(memory.download(memory.constant(table))))
        thread.start()
        thread.join()

    engine.Graph([]).record(step)
    np.testing.assert_array_equal(seen, [table])


# ------------------------------------------------------------------------------------------------- the driver
class Driver(ModuleType):
    """Notes what is called, in the manner of cuda.bindings.driver: a code, then results."""

    CUresult = SimpleNamespace(CUDA_SUCCESS=0)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED="relaxed")
    CUstream = int

    def __init__(self, failing=None):
        super().__init__("driver")
        self.called = []
        results = {"cuStreamEndCapture": ["graph"], "cuGraphInstantiate": ["executable"]}
        for name in (
            "cuStreamBeginCapture",
            "cuStreamEndCapture",
            "cuGraphInstantiate",
            "cuGraphDestroy",
            "cuGraphLaunch",
            "cuGraphExecDestroy",
        ):
            setattr(
                self,
                name,
                self._function(
                    name,
                    SimpleNamespace(name="CUDA_ERROR_UNKNOWN") if name == failing else 0,
                    results.get(name, []),
                ),
            )

    def _function(self, name, code, results):
        def call(*args):
            self.called.append((name.removeprefix("cu"), *args))
            return code, *results

        call.__name__ = name
        return call


@pytest.fixture
def capture(engine, monkeypatch):
    """``capture(work, driver)``, what ``launch.record`` does on a device."""

    def run(work, driver):
        bindings = ModuleType("cuda.bindings")
        bindings.driver = driver
        monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
        monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
        monkeypatch.setattr(launch, "SIMULATED", False)
        monkeypatch.setattr(device, "attach", lambda: None)
        monkeypatch.setattr(launch, "cuda", SimpleNamespace(stream=lambda: 8))
        monkeypatch.setattr(device, "stream", lambda: 7)
        return launch.record(work)

    return run


@with_stand_in
def test_what_the_driver_is_asked(capture):
    """This thread launches on a stream of its own, which is captured; replays go to the common stream."""
    driver, seen = Driver(), []

    def work():
        driver.called.append("work")
        seen.append(context.current().target)
        return "result"

    start, result = capture(work, driver)
    start()
    start()
    assert result == "result" and seen == [8] and context.current().target is None
    assert driver.called == [
        ("StreamBeginCapture", 8, "relaxed"),
        "work",
        ("StreamEndCapture", 8),
        ("GraphInstantiate", "graph", 0),
        ("GraphDestroy", "graph"),
        ("GraphLaunch", "executable", 7),
        ("GraphLaunch", "executable", 7),
    ]
    del start
    assert driver.called[-1] == ("GraphExecDestroy", "executable")


@with_stand_in
@pytest.mark.parametrize(
    "name", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphLaunch"]
)
def test_what_the_driver_refuses(name, capture):
    driver = Driver(name)
    with pytest.raises(RuntimeError, match=f"{name}: CUDA_ERROR_UNKNOWN"):
        capture(lambda: None, driver)[0]()


@with_stand_in
def test_a_capture_ends_where_the_work_fails(capture):
    driver = Driver()
    with pytest.raises(ZeroDivisionError):
        capture(lambda: 1 / 0, driver)
    assert driver.called[-1] == ("StreamEndCapture", 8)


# ------------------------------------------------------------------------------------------------- batches on
# their way
def batches(engine, count=5):
    rng = np.random.default_rng(1)
    for n in range(count):
        images = rng.standard_normal((3, 2, 4, 5)).astype(np.float32)
        yield [images if n % 2 else images.transpose(0, 3, 1, 2), np.arange(3 + 200 * n), np.float64(n)]


def test_upload_one_ahead(engine):
    """Values, shapes, dtypes and memory orders arrive, also where batches grow.

    The copy of the next batch leaves the batch in use alone.
    """
    upload, steps = engine.Upload(), list(batches(engine))
    on_the_way = upload.start(steps[0])
    for n, want in enumerate(steps):
        got = upload.take(on_the_way)
        if n + 1 < len(steps):
            on_the_way = upload.start(steps[n + 1])
        for a, b in zip(got, map(np.asarray, want), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype and np.array_equal(engine.to_host(a), b)
        assert got[0].strides == want[0].strides
    there = engine.asarray(steps[0][0])
    assert upload.take(upload.start([there, steps[0][1]]))[0] is there


@with_stand_in
def test_upload_waits_where_it_must(engine, monkeypatch):
    """Copies that run as late as events allow read their own batch, after the stream of kernels waited."""
    late, log = [], []

    def run(*_):
        while late:
            late.pop(0)()

    class Event:
        def record(self, stream):
            log.append(("record", stream))

        def wait(self, stream):
            log.append(("wait", stream))
            if stream == "kernels":
                run()

        synchronize = run

    write = memory.write
    stand_in = SimpleNamespace(stream=lambda: "upload", event=Event, pinned_array=np.empty)
    monkeypatch.setattr(h2d, "cuda", stand_in)
    monkeypatch.setattr(device, "stream", lambda: "kernels")
    monkeypatch.setattr(memory, "write", lambda y, x, stream: late.append(lambda: write(y, x)))
    upload, steps = engine.Upload(), list(batches(engine))
    on_the_way = upload.start(steps[0])
    for n, want in enumerate(steps):
        got = upload.take(on_the_way)
        assert np.array_equal(engine.to_host(got[0]), want[0])
        if n + 1 < len(steps):
            on_the_way = upload.start(steps[n + 1])
    start, take = [("wait", "upload"), ("record", "upload")], [("wait", "kernels"), ("record", "kernels")]
    assert log == (start + take) * len(steps)


@pytest.mark.parametrize("everywhere", [True, False])
def test_batches_of_a_plain_loader_and_one_that_fails(everywhere, monkeypatch):
    """Batches on the device stay there; an exception of the loader ends the run after the steps before it."""

    class Fault(Exception):
        pass

    def load():
        for n in range(6):
            yield fc.ones(4, 3, device="cuda" if everywhere else "cpu"), np.arange(4) % 2
            if n == 2:
                raise Fault

    class Loader:
        def __len__(self):
            return 6

        def __iter__(self):
            return load()

    net, steps = nn.Linear(3, 2).to("cuda"), []
    optimizer = optim.SGD(net.parameters(), 0.1)
    monkeypatch.setattr(train.run.Run, "record", lambda run: steps.append(run.at["batch"]))
    with pytest.raises(Fault):
        train.fit(net, Loader(), optimizer=optimizer, progress=False, graph=False)
    assert steps == [1, 2, 3]


# ------------------------------------------------------------------------------------------- users' own steps
def own_steps(graphed, dropout=0.3):
    """A user's loop, with other batch sizes in between, a new learning rate and a change of the net.

    Every bit of what comes out, and the losses.
    """
    fc.manual_seed(3)
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(8, 3)
    ).to("cuda")
    optimizer = optim.SGD(net.parameters(), 0.05, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    run = (
        train.graphed(step, net, optimizer)
        if graphed
        else lambda x, y: step(fc.tensor(x, device="cuda"), fc.tensor(y, device="cuda"))
    )
    losses = []
    for i in range(10):
        n = 3 if i in (4, 8) else 4
        if i == 6:
            optimizer.param_groups[0]["lr"] = 0.2
        if i == 7:
            net[4].eval()
        losses.append(
            run(rng.standard_normal((n, 1, 4, 4)).astype(np.float32), rng.integers(0, 3, n))["loss"].item()
        )
    return [v.numpy().tobytes() for v in net.state_dict().values()], losses, fc.random.get_state()


def test_own_steps_as_a_graph(recorded):
    """The same bits as ordinary steps; recorded again after the net has changed."""
    want = own_steps(False)
    assert recorded.steps == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert own_steps(True) == want
    assert recorded.steps == 2


def test_own_steps_that_cannot_be_recorded(recorded):
    """A step that reads a value runs as usual, and says so once."""
    net = nn.Linear(4, 2).to("cuda")
    optimizer = optim.SGD(net.parameters(), 0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    run = train.graphed(step, net, optimizer)
    with pytest.warns(UserWarning, match="graphed: the step cannot be recorded as a graph .values are read"):
        losses = [run(np.ones((2, 4), np.float32), np.array([0, 1])) for _ in range(4)]
    assert losses == sorted(losses, reverse=True) and recorded.steps == 0
