"""Pictures of programs, their memory, and the layout of boxes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import graph, models, nn
from fastconv.graph.layered import layout
from fastconv.nn import functional as F

SVG = "{http://www.w3.org/2000/svg}"


def residual(x):
    y = F.conv2d(x, fc.ones(3, 3, 3, 3), padding=1)
    return F.relu(F.conv2d(y, fc.ones(3, 3, 3, 3), stride=2, padding=1) + x[:, :, ::2, ::2])


def test_boxes_and_edges():
    picture = graph.trace(residual, fc.zeros(1, 3, 8, 8)).picture()
    titles = [box.lines[0] for box in picture.boxes]
    assert titles == ["input", "conv", "conv", "getitem", "add", "relu", "output"]
    assert picture.boxes[2].lines == ("conv", "3x3, stride 2, padding 1", "weight 3x3x3x3", "1x3x4x4")
    assert picture.edges == [(0, 1), (1, 2), (0, 3), (2, 4), (3, 4), (4, 5), (5, 6)]


def test_what_is_computed_of_constants_has_no_box():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    picture = graph.trace(net, fc.zeros(1, 1, 8, 8)).picture()
    assert [box.lines[0] for box in picture.boxes] == ["input", "conv", "batch_norm", "output"]


def test_merged_layers_in_the_picture():
    program = graph.optimize(graph.trace(models.resnet18().eval(), fc.zeros(1, 3, 64, 64)), None)
    titles = [box.lines[0] for box in program.picture().boxes]
    assert titles.count("conv + add + relu") == 8 and titles.count("conv + relu") == 9


def test_dot():
    dot = graph.trace(residual, fc.zeros(1, 3, 8, 8)).picture().dot()
    assert dot.startswith("digraph program {") and dot.endswith("}")
    assert '  n1 [label="conv\\n3x3, padding 1\\nweight 3x3x3x3\\n1x3x8x8", fillcolor="#bfdbfe"];' in dot
    assert dot.count("->") == 7


def test_svg_of_a_resnet(tmp_path):
    """Every call has a box that contains its text, and no two boxes overlap."""
    picture = graph.trace(models.resnet18().eval(), fc.zeros(1, 3, 64, 64)).picture()
    picture.save(tmp_path / "net.svg")
    root = xml.fromstring((tmp_path / "net.svg").read_text())
    assert picture._repr_svg_() == picture.svg()
    rects = [r for r in root.iter(SVG + "rect") if "rx" in r.attrib]
    boxes = [tuple(float(r.get(k)) for k in ("x", "y", "width", "height")) for r in rects]
    assert len(boxes) == len(picture.boxes)
    width, height = float(root.get("width")), float(root.get("height"))
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        for u, v, p, q in boxes[:i]:
            assert x + w <= u or u + p <= x or y + h <= v or v + q <= y
    texts = [t.text for t in root.iter(SVG + "text")]
    assert texts == [line for box in picture.boxes for line in box.lines]
    assert len([p for p in root.iter(SVG + "path") if p.get("fill") == "none"]) == len(picture.edges)


def test_names_of_files(tmp_path):
    picture = graph.trace(residual, fc.zeros(1, 3, 8, 8)).picture()
    picture.save(tmp_path / "net.dot")
    assert (tmp_path / "net.dot").read_text() == picture.dot()
    with pytest.raises(ValueError, match=r"Picture.save: expected a name that ends in .svg or .dot, got"):
        picture.save(tmp_path / "net.png")


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_layouts(data):
    """Boxes of a layer do not overlap, edges lead down, and lines begin and end at their boxes."""
    count = data.draw(st.integers(0, 12))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []
    sizes = [(data.draw(st.sampled_from([10.0, 60.0])), 20.0) for _ in range(count)]
    found = layout(sizes, edges)
    for a, b in edges:
        assert found.boxes[a][1] + 10 < found.boxes[b][1] - 10
    for (a, b), line in zip(edges, found.lines):
        assert line[0] == (found.boxes[a][0], found.boxes[a][1] + 10)
        assert line[-1] == (found.boxes[b][0], found.boxes[b][1] - 10)
    for i in range(count):
        for j in range(i):
            (x, y), (u, v) = found.boxes[i], found.boxes[j]
            assert abs(x - u) >= (sizes[i][0] + sizes[j][0]) / 2 or abs(y - v) >= 20


# ------------------------------------------------------------------------------------------------- memory
def test_memory_of_values():
    """An array is released after its last use, and a view keeps the array that it is a view of."""
    image = 3 * 8 * 8 * 4

    def chain(x):
        return F.relu(F.sigmoid(F.tanh(x)))

    def with_view(x):
        y = F.tanh(x).reshape(3, 64)
        return F.relu(F.sigmoid(x).reshape(3, 64)) + y

    def shortcut(x):
        return F.relu(F.sigmoid(F.tanh(x))) + x

    x = fc.zeros(1, 3, 8, 8)
    assert graph.trace(chain, x).memory == (2 * image, 0, 0)
    assert graph.trace(shortcut, x).memory == (3 * image, 1, 0)
    assert graph.trace(with_view, x).memory.peak == 3 * image
    net = nn.Conv2d(3, 5, 1).eval()
    memory = graph.trace(net, x).memory
    assert memory == (image + 5 * 64 * 4, 0, 4 * (15 + 5))
    assert str(memory) == "values 2.0 kB at the peak, constants 0.1 kB"
    assert re.search(r"return %1\nvalues 2.0 kB at the peak", str(graph.trace(net, x)))


def test_merged_calls_need_less_memory():
    program = graph.trace(models.resnet18().eval(), fc.zeros(1, 3, 64, 64))
    assert graph.optimize(program).memory.peak < program.memory.peak
