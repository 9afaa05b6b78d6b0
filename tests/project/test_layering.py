"""Who may know whom (docs/architecture.md), held by walking the imports of the source."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

# The package is found without being imported: these tests read its source.
PACKAGE = Path(importlib.util.find_spec("fastconv").origin).parent
FILES = {
    p.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): p for p in PACKAGE.rglob("*.py")
}
MODULES = {name.removesuffix(".__init__"): ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}

# A module imports from its own layer and from those below (a smaller number); the longest matching prefix
# counts.
LAYERS = {
    "_version": 0,
    "checks": 0,
    "errors": 0,
    "spec": 0,
    "table": 0,
    "dtypes": 0,
    "backends": 1,
    "random": 1,
    "cuda": 1,
    "devices": 2,
    "variable": 2,
    "autograd": 2,
    "tape": 2,
    "ops": 2,
    "methods": 2,
    "functions": 2,
    "creation": 2,
    "linalg": 2,
    "inplace": 2,
    "numpy_protocol": 2,
    "tensor": 2,
    "distributed": 2,
    "typing": 2,
    "nn": 3,
    "optim": 3,
    "io": 3,
    "onnx": 4,
    "data": 4,
    "utils": 4,
    "models": 4,
    "graph": 3,
    "inference": 4,
    "inspect": 4,
    "interop": 4,
    "train": 4,
    "cli": 5,
    "compiled": 5,
    "__init__": 6,
    "__main__": 6,
}
EXTRAS = {"torch", "tqdm", "pooch", "matplotlib", "safetensors", "IPython", "PIL", "onnx", "mpi4py"}
#: Modules that nothing imports but users who have an extra.
OF_EXTRAS = {"onnx.backend"}


def imports(name, tree=None):
    """Every module or name that module ``name`` imports, at any depth: absolute names as written, our own
    without the leading ``fastconv.``"""
    return _imports_of_module(name) if tree is None else tuple(_imports(name, tree))


@functools.cache
def _imports_of_module(name):
    return tuple(_imports(name, MODULES[name]))


def _imports(name, tree):
    package = (
        name if FILES.get(f"{name}.__init__" if name != "__init__" else name) else name.rpartition(".")[0]
    )
    parts = [] if name == "__init__" else package.split(".") if package else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else []
            base = ["fastconv", *base] if node.level else []
            found = [".".join([*base, *filter(None, [node.module]), a.name]) for a in node.names]
        else:
            continue
        yield from found


def ours(name, tree=None, modules=MODULES):
    """Those of ``modules``, the files of the package, that module ``name`` imports."""
    for full in imports(name, tree):
        if full == "fastconv" or full.startswith("fastconv."):
            target = full.removeprefix("fastconv").lstrip(".")
            while target and target not in modules:  # ``from .tensor import Tensor``: drop the name
                target = target.rpartition(".")[0]
            yield target or "__init__"


def layer(name):
    while name not in LAYERS:
        name = name.rpartition(".")[0]
        assert name, "no layer"
    return LAYERS[name]


def circle(graph):
    """A list of modules of which each imports the next and the last is the first again; None: there is none.

    ``graph`` names, for each module, those it imports.
    """
    graph = {name: targets - {name} for name, targets in graph.items()}
    while ends := {name for name, targets in graph.items() if not targets}:  # no circle leads through these
        graph = {name: targets - ends for name, targets in graph.items() if name not in ends}
    if not graph:
        return None
    path = [min(graph)]
    while path[-1] not in path[:-1]:
        path.append(min(graph[path[-1]]))
    return path[path.index(path[-1]) :]


def top_level(tree):
    """The tree without the bodies of its functions: what runs on import."""
    stripped = ast.parse("")
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            stripped.body.append(node)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)
    return stripped


def test_every_module_has_a_layer():
    assert len(MODULES) > 10
    assert {name for name in MODULES if name.split(".")[0] not in LAYERS} == set()


def test_imports_point_downward():
    assert [(m, target) for m in MODULES for target in ours(m) if layer(target) > layer(m)] == []


def test_no_circle_of_files():
    """In the whole package, engines included. Imports inside functions and under TYPE_CHECKING count."""
    graph = {name: set(ours(name)) for name in MODULES}
    assert circle(graph) is None, "each of these files imports the next one; move what both need below them"


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"a"}}) is None  # a package that imports its own names
    sources = {
        "one": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .two import Two\n",
        "two": "def f():\n    from fastconv.three import g\n",
        "three": "from . import one\n",
    }
    trees = {name: ast.parse(source) for name, source in sources.items()}
    graph = {name: set(ours(name, tree, sources)) for name, tree in trees.items()}
    assert circle(graph) == ["one", "two", "three", "one"]


def test_engines_do_not_know_each_other():
    def engine(name):
        parts = name.split(".")
        return (
            parts[1]
            if parts[0] == "backends" and parts[1:2] and parts[1] in ("numpy", "cpu", "cuda")
            else None
        )

    pairs = {(engine(name), engine(target)) for name in MODULES for target in ours(name)}
    mixed = {(a, b) for a, b in pairs if a and b and a != b}
    # the reference may serve both, never the other way round
    assert mixed <= {("cpu", "numpy"), ("cuda", "numpy")}
    assert {a for a, b in pairs if b and a != b} <= {None, "cpu", "cuda"}


def users(*names):
    """The modules that import one of ``names`` or something inside it."""
    return {
        m for m in MODULES for full in imports(m) if any(full == n or full.startswith(n + ".") for n in names)
    }


def mentions(*words):
    """The modules where one of ``words`` stands as a name or an attribute."""
    found = set()
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            word = getattr(node, "id", None) or getattr(node, "attr", None)
            if isinstance(node, ast.ImportFrom) and {a.name for a in node.names} & set(words):
                found.add(name)
            if word in words:
                found.add(name)
    return found


def test_instructions_are_emitted_in_one_place_per_backend():
    emitting = {m for m in users("llvmlite") if not m.startswith("backends.cpu.codegen.")}
    assert emitting <= {"backends.cuda.codegen.ptx", "backends.cuda.codegen.hopper"}
    assert "backends.cpu.codegen.jit" not in users("llvmlite")


def test_only_jit_compiles():
    """numba's decorators are applied in one place, so that flags and cache are decided in one place."""
    decorators = {"njit", "vectorize", "guvectorize", "stencil", "cfunc", "generated_jit"}
    bare = {m for m in MODULES for d in decorators | {"jit"} if f"numba.{d}" in imports(m)}
    named = {
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in decorators | {"jit"}
        and isinstance(node.value, ast.Name)
        and node.value.id in ("numba", "nb")
    }
    assert bare | named == {"backends.cpu.codegen.jit"}


def test_only_ptx_contains_inline_assembly():
    """The LLVM code of the cpu backend holds one barrier for the optimiser, whose assembly is empty."""
    words = "InlineAsm", "inline_asm", "inlineasm", "asm"
    assert mentions(*words) <= {"backends.cuda.codegen.ptx", "backends.cpu.codegen.emitter"}
    calls = [n for n in ast.walk(MODULES["backends.cpu.codegen.emitter"]) if isinstance(n, ast.Call)]
    templates = [n.args[1] for n in calls if getattr(n.func, "attr", None) in words]
    assert [t.value for t in templates] == [""]


def test_only_engines_import_numba():
    """Except for the command line and reports, which print versions from inside a function."""
    assert {
        m for m in MODULES if any(i.split(".")[0] == "numba" for i in imports(m, top_level(MODULES[m])))
    } <= {m for m in MODULES if m.startswith(("backends.cpu", "backends.cuda"))}


def test_extras_are_imported_where_they_are_used():
    """Without the extras every module still imports."""
    early = [
        (m, i)
        for m in MODULES.keys() - OF_EXTRAS
        for i in imports(m, top_level(MODULES[m]))
        if i.split(".")[0] in EXTRAS
    ]
    assert early == []


def test_the_walk_sees_what_it_should():
    """The functions above on source where the answer is known: they must be able to find a fault."""
    tree = ast.parse("import numba\nif numba:\n    from . import tensor\ndef f():\n    from ..nn import x\n")
    assert set(imports("backends", tree)) == {"numba", "fastconv.backends.tensor", "fastconv.nn.x"}
    assert set(imports("backends", top_level(tree))) == {"numba", "fastconv.backends.tensor"}
    assert layer("backends.cpu.codegen.jit") == 1 and "backends" in set(ours("tape.op"))


def test_import_is_light():
    """A fresh interpreter imports fastconv without Numba and the extras."""
    program = "import json, sys, fastconv; print(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"numba", "llvmlite", *EXTRAS} & {name.split(".")[0] for name in json.loads(run.stdout)} == set()
