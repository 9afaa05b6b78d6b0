"""``torch.compile(model, backend="fastconv")`` against PyTorch itself, in float64."""

from __future__ import annotations

import copy
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from support.selection import full

torch = pytest.importorskip("torch")

from interop.torch_nets import modules  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import fastconv as fc  # noqa: E402
from fastconv.backends import settings  # noqa: E402
from fastconv.interop import torch as interop  # noqa: E402
from fastconv.interop.torch.compiler import backend_that_keeps  # noqa: E402

NETS = modules()


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(settings, "chosen_threads", settings.chosen_threads)
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def pair(name, dtype=torch.float64, channels_last=True):
    """A network, a copy of it that is compiled, the compiled callable, and its graphs."""
    net = NETS[name]().to(dtype)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.uniform_(m.bias, -0.5, 0.5)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    twin, graphs = copy.deepcopy(net), []
    return net, twin, torch.compile(twin, backend=backend_that_keeps(graphs)), graphs


def images(n=4, dtype=torch.float64, channels_last=True, size=16):
    x = torch.randn(n, 3, size, size, dtype=dtype)
    return x.to(memory_format=torch.channels_last) if channels_last else x


def layout(t):
    """Strides of a tensor, as far as they mean something."""
    return [s for s, n in zip(t.stride(), t.shape) if n > 1]


def same(got, want, tolerance=1e-11, strides=True):
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert not strides or layout(a) == layout(b)
        if a.is_floating_point():
            assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1e-3)
        else:
            assert torch.equal(a, b)


def first(result):
    return result[0] if isinstance(result, tuple) else result


def step(net, run, x, target, optimizer):
    """One step of training: the results and the gradients."""
    torch.manual_seed(1)  # dropout
    optimizer.zero_grad()
    result = run(x)
    F.cross_entropy(first(result), target).backward()
    grads = [p.grad.clone() for p in net.parameters()]
    optimizer.step()
    return [first(result).detach(), *grads]


#: PyTorch's gradient of Hardsigmoid multiplies by 1/6 rounded to float32.
TOLERANCES = {"Depthwise": 1e-7}


def compare_training(name, channels_last, steps=2, prepared=False, **options):
    net, twin, compiled, graphs = pair(name, channels_last=channels_last)
    x = images(channels_last=channels_last).requires_grad_()
    target = torch.randint(0, 4, (4, *first(net(x)).shape[2:]))
    twin.load_state_dict(net.state_dict())
    if prepared:
        interop.prepare(twin)
    optimizers = [torch.optim.SGD(n.parameters(), 0.05, 0.9, **options) for n in (net, twin)]
    for _ in range(steps):
        x.grad = None
        want = [*step(net, net, x, target, optimizers[0]), x.grad]
        x.grad = None
        got = [*step(twin, compiled, x, target, optimizers[1]), x.grad]
        same(got, want, TOLERANCES.get(name, 1e-11), strides=not prepared)
        same(list(twin.buffers()), list(net.buffers()))
    assert [g.kind for g in graphs] == ["forward", "backward"]
    return graphs


@pytest.mark.parametrize("channels_last", [True, *full(False)])
@pytest.mark.parametrize("name", ["ResNet", *full("LeNet", "UNet", "Grouped", "Depthwise", "Strange")])
def test_training(name, channels_last):
    """Results, gradients of parameters and input, running statistics, over two steps of SGD."""
    compare_training(name, channels_last)


def test_training_with_prepared_weights():
    compare_training("UNet", True, prepared=True, fused=True)


def names(graphs, kind, on_engine):
    steps = [s for g in graphs if g.kind == kind for s in g.steps.steps]
    return {s.name for s in steps if s.name and s.on_engine == on_engine}


def test_what_runs_on_the_engine():
    """Of a ResNet everything but the counters of batches; norms, sums and ReLUs are merged both ways."""
    graphs = compare_training("ResNet", channels_last=True, steps=1, fused=True)
    assert names(graphs, "forward", False) <= {"aten.add.Tensor", "aten.copy_.default"}
    forward, backward = names(graphs, "forward", True), names(graphs, "backward", True)
    assert {"train_fwd", "arrange", "aten.convolution.default"} <= forward
    assert "aten.relu.default" not in forward and "aten.threshold_backward.default" not in backward
    assert {"train_bwd", "convolution_backward"} <= backward
    assert names(graphs, "backward", False) == set()


def test_gradients_have_the_layout_of_parameters():
    """Else autograd would copy each of them."""
    _, twin, compiled, _ = pair("ResNet", channels_last=False)
    interop.prepare(twin.layers)
    compiled(images()).sum().backward()
    assert [p.grad.stride() for p in twin.parameters()] == [p.stride() for p in twin.parameters()]


@pytest.mark.parametrize("name", ["ResNet", "Strange", *full("LeNet", "UNet", "Grouped", "Depthwise")])
def test_inference(name):
    """Step by step, captured, recorded; and with other weights, however they were changed."""
    net, twin, compiled, graphs = pair(name)
    net.eval(), twin.eval()

    def check():
        for _ in range(4):
            x = images()
            with torch.no_grad():
                got, want = compiled(x), net(x)
            same(*([list(r) if isinstance(r, tuple) else [r] for r in (got, want)]))

    check()
    for change in (lambda p: p.mul_(1.1), lambda p: p.data.add_(0.01)):
        with torch.no_grad():
            for n in (net, twin):
                for p in n.parameters():
                    change(p)
        check()
    with torch.no_grad():
        for n in (net, twin):
            for m in n.modules():
                if isinstance(m, torch.nn.BatchNorm2d):
                    m.running_var.mul_(1.5)
    check()
    for n in (net, twin):
        optimizer = torch.optim.Adam(n.parameters(), fused=True)
        first(n(images().fill_(0.5))).sum().backward()
        optimizer.step()
    check()
    assert [g.kind for g in graphs] == ["inference"]


def test_inference_is_folded_and_recorded():
    _, twin, compiled, graphs = pair("ResNet")
    twin.eval()
    with torch.no_grad():
        for _ in range(4):
            compiled(images())
    [segment] = [s for s in graphs[0].steps.steps if s.name]
    [program] = segment.run.programs.values()
    ops = [call.op for call in program.program.calls]
    assert "conv_fwd" in ops and "batch_norm_fwd" not in ops
    assert program.recording is not None


def test_results_of_inference_are_kept():
    """A later call must not write to an earlier result."""
    _, twin, compiled, _ = pair("ResNet")
    twin.eval()
    x = images()
    with torch.no_grad():
        results = [compiled(x + i) for i in range(5)]
        kept = [r.clone() for r in results]
        compiled(x + 9)
    same(results, kept)


@pytest.mark.full
def test_evaluation_with_gradients():
    """Fine-tuning with fixed statistics."""
    net, twin, compiled, _ = pair("Depthwise")
    net.eval(), twin.eval()
    x = images()
    for run in (net, compiled):
        run(x).square().sum().backward()
    same([p.grad for p in twin.parameters()], [p.grad for p in net.parameters()], TOLERANCES["Depthwise"])


def test_batch_sizes():
    """A second batch size compiles once more, for any size; then no further one does."""
    net, twin, compiled, graphs = pair("ResNet")
    for n in (4, 6, 3, 9, 5):
        x = images(n)
        same([compiled(x).detach()], [net(x).detach()])
    assert [g.kind for g in graphs].count("forward") == 2
    twin.eval(), net.eval()
    with torch.no_grad():
        for n in (4, 6, 3, 9, 5, 6, 6, 6):
            x = images(n)
            same([compiled(x)], [net(x)])
    assert [g.kind for g in graphs].count("inference") == 1  # for any batch size, as training was


@pytest.mark.full
def test_mark_dynamic():
    net, _, compiled, graphs = pair("UNet")
    for n in (4, 2, 3):
        x = images(n)
        torch._dynamo.mark_dynamic(x, 0)
        same([compiled(x).detach()], [net(x).detach()])
    assert [g.kind for g in graphs].count("forward") == 1


@pytest.mark.parametrize("dtype", [torch.float32, *full(torch.bfloat16)])
def test_float32(dtype):
    """bfloat16 stays with PyTorch."""
    fc.set_float32_precision("highest")
    try:
        net, twin, compiled, _ = pair("ResNet", dtype)
        x = images(dtype=dtype)
        for run in (net, compiled):
            run(x).sum().backward()
        tolerance = 1e-4 if dtype is torch.float32 else 0.1
        got, want = ([first(n(x)).detach(), n.conv1.weight.grad] for n in (twin, net))
        same(got, want, tolerance)
    finally:
        fc.set_float32_precision("high")


@pytest.mark.parametrize("dtype", [torch.bfloat16, *full(torch.float16)])
def test_other_floats_are_left_to_pytorch(dtype):
    net, twin, compiled, graphs = pair("ResNet", dtype)
    net.eval(), twin.eval()
    for _ in range(3):
        x = images(dtype=dtype)
        with torch.no_grad():
            same([compiled(x)], [net(x)], 1e-2)
    assert names(graphs, "inference", True) == set()


def test_one_tensor_as_two_inputs():
    """A graph that was captured with one tensor twice must not take the two for one."""

    def difference(a, b):
        return F.conv2d(a, w) - F.conv2d(b, w)

    w = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    compiled, a, b = torch.compile(difference, backend=interop.backend), images(), images()
    with torch.no_grad():
        for _ in range(4):
            same([compiled(a, a.detach())], [torch.zeros_like(difference(a, a))])
        same([compiled(a, b)], [difference(a, b)])


def test_losses():
    """Classes that are ignored, weights of classes, each reduction."""
    x, target = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 4, -100, 2, 2, 1])
    weight = torch.rand(5, dtype=torch.float64)
    for options in ({}, {"weight": weight}, {"reduction": "sum"}, {"reduction": "none", "weight": weight}):

        def loss(x, options=options):
            return F.cross_entropy(x, target, **options).sum() * 2

        graphs, results = [], []
        for run in (torch.compile(loss, backend=backend_that_keeps(graphs)), loss):
            leaf = x.clone().requires_grad_()
            value = run(leaf)
            value.backward()
            results.append([value.detach(), leaf.grad])
        same(*results)
        assert "aten.nll_loss_forward.default" in names(graphs, "forward", True)


def test_threads_of_pytorch_are_used(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(settings, "chosen_threads", None)
    conv = torch.compile(torch.nn.Conv2d(3, 4, 3), backend=interop.backend)
    try:
        torch.set_num_threads(1)
        conv(images(dtype=torch.float32))
        assert fc.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    conv(images(dtype=torch.float32))
    assert fc.get_num_threads() == min(threads, settings.available_cpus())


def test_explain():
    torch.manual_seed(0)
    net = NETS["Strange"]()
    before = copy.deepcopy(net.state_dict())
    found = interop.explain(net, images(dtype=torch.float32))
    rows = {(r.engine, r.op): r.calls for r in found.rows}
    assert rows["fastconv", "conv_fwd"] == rows["fastconv", "conv_bwd_weight"] == 1
    assert rows["torch", "aten.special_i0e.default"] == 1 and found.graphs == ["forward", "backward"]
    assert "special_i0e" in str(found) and all(r.seconds > 0 for r in found.rows)
    same(list(net.state_dict().values()), list(before.values()))
    assert all(p.grad is None for p in net.parameters())
    found = interop.explain(net.eval(), images(dtype=torch.float32))
    assert found.graphs == ["inference"]


@pytest.mark.parametrize("name", ["ResNet", *full("LeNet", "UNet", "Grouped", "Depthwise")])
def test_from_torch(name, tmp_path):
    """Other batch sizes, state dict, pickle, and ``optimize_for_inference``."""
    import pickle

    net = pair(name, torch.float32)[0].eval()
    module = interop.from_torch(net, images(dtype=torch.float32))
    assert list(module.state_dict()) == list(net.state_dict())
    copied = pickle.loads(pickle.dumps(module))
    for run in (module, copied, fc.optimize_for_inference(module)):
        for n in (4, 3, 3, 3):
            x = images(n, torch.float32, channels_last=False)
            with torch.no_grad():
                want = net(x)
            got = torch.from_numpy(run(fc.from_numpy(x.numpy())).numpy().copy())
            assert torch.allclose(got, want, rtol=1e-4, atol=1e-4)


def test_from_torch_names_what_is_missing():
    with pytest.raises(ValueError, match=r"from_torch: .*special_i0e"):
        interop.from_torch(NETS["Strange"](), images(dtype=torch.float32))


def test_pickled_module_runs_without_pytorch(tmp_path):
    import pickle

    module = interop.from_torch(NETS["ResNet"](), images(dtype=torch.float32))
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(module))
    program = (
        "import pickle, sys, fastconv as fc; net = pickle.load(open('net.pkl', 'rb'));"
        "print(net(fc.zeros(2, 3, 16, 16)).shape, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == "(2, 4) False\n", run.stderr


def test_the_name_is_registered():
    found = [e for e in entry_points(group="torch_dynamo_backends") if e.name == "fastconv"]
    if not found:
        pytest.skip("fastconv is not installed, or was installed before it had this entry point")
    assert found[0].load() is interop.backend
    assert "fastconv" in torch.compiler.list_backends()
