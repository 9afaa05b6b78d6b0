"""What objects show of themselves: short text in a terminal, tables in a notebook, never a dump."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, nn, optim, train
from fastconv.table import Table, number


class Cells(HTMLParser):
    """The rows of a table, and the text around it."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.around, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        elif data.strip():
            self.around.append(data)


def test_text_and_html_of_the_same_rows():
    t = Table(("name", "n"), [("a<b>", "1"), ("&", "1,000")], "lr", "before\nit", "<after>")
    assert t.text() == "before\nit\nname      n\n-----------\na<b>      1\n&     1,000\n<after>"
    found = Cells(t.html())
    assert found.rows == [["name", "n"], ["a<b>", "1"], ["&", "1,000"]] and found.around == [
        "before",
        "it",
        "<after>",
    ]
    assert Table(("x",), [], "r").text() == "x\n-" and Cells(Table(("x",), [], "r").html()).rows == [["x"]]
    numbers = (None, float("nan"), 3, 1234567, 0.000123456, 123.456, 98765.4, 1e20, -2.0)
    assert [*map(number, numbers)] == [
        "",
        "",
        "3",
        "1,234,567",
        "0.0001235",
        "123.5",
        "98,765",
        "1e+20",
        "-2",
    ]


NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: fc.summary(NET, (2, 3, 6, 6)),
        lambda: fc.profile(NET, np.ones((2, 3, 6, 6), np.float32), 1),
        lambda: fc.explain_conv((1, 3, 6, 6), (8, 3, 3, 3), stride=2),
    ],
    ids=["summary", "profile", "explain_conv"],
)
def test_results_of_looking_inside(make):
    found = make()
    text, cells = str(found), Cells(found._repr_html_())
    assert repr(found) == text and "\n--" in text
    for row in cells.rows:  # every cell is in the line of its row
        assert any(all(cell in line for cell in row) for line in text.splitlines())
    assert all(line in text.splitlines() for line in cells.around)
    assert len(cells.rows) + len(cells.around) + 1 == len(text.splitlines())


def history(epochs):
    keys = "epoch train_loss train_accuracy test_loss test_accuracy lr images_per_second".split()
    tested = {True: (0.25, 0.75), False: (None, None)}
    points = [(i / 5, 1 / i, 0.5, *tested[i % 5 == 0], 0.1, None) for i in range(1, 5 * epochs + 1)]
    return train.History(dict(zip(keys, p)) for p in points)


def test_history():
    """Whole epochs and the last point; twenty lines of a hundred epochs."""
    h = history(3)
    assert [line.split() for line in repr(h).splitlines()[2:]] == [
        [str(e), f"{1 / (5 * e):.4g}", "0.5", "0.25", "0.75", "0.1"] for e in (1, 2, 3)
    ]
    h.stopped = "time limit"
    h.append({**h[0], "epoch": 3.2})
    assert (
        repr(h).splitlines()[-2].split()[0] == "3.2"
        and repr(h).endswith("\nstopped: time limit")
        and str(h) == repr(h)
    )
    assert [row[0] for row in Cells(h._repr_html_()).rows] == ["epoch", "1", "2", "3", "3.2"]
    long = repr(history(100)).splitlines()
    assert len(long) == 23 and [line.split()[0] for line in long[10:14]] == ["9", "10", "...", "91"]
    assert repr(train.History()).startswith("epoch") and isinstance(h, list) and h == list(h)


def test_optimizers():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5, bias=False))
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    assert repr(sgd) == "SGD(lr=0.1, momentum=0.9, 3 parameters)"
    head, row = Cells(sgd._repr_html_()).rows
    assert dict(zip(head, row)) == {
        "group": "0",
        "parameters": "3",
        "elements": "36",
        "lr": "0.1",
        "momentum": "0.9",
        "dampening": "0",
        "weight_decay": "0",
        "nesterov": "False",
        "maximize": "False",
    }
    adam = optim.AdamW(
        [{"params": net[0].parameters()}, {"params": net[1].parameters(), "lr": 0.01, "eps": 1e-6}]
    )
    assert (
        repr(adam) == "AdamW(2 groups: lr=0.001, eps=1e-08, 2 parameters; lr=0.01, eps=1e-06, 1 parameters)"
    )
    assert len(Cells(adam._repr_html_()).rows) == 3


def test_schedules():
    sgd = optim.SGD([nn.Parameter(fc.ones(2))], lr=0.1, momentum=0.9)
    step = optim.lr_scheduler.StepLR(sgd, 2)
    for _ in range(3):
        step.step()
    assert repr(step) == "StepLR(step_size=2, gamma=0.1; step 3, lr 0.01)"
    text = repr(optim.lr_scheduler.OneCycleLR(sgd, 0.1, total_steps=10))
    assert re.fullmatch(r"OneCycleLR\(total_steps=10, .*; step 0, lr 0\.004\)", text) and len(text) < 120


class Items:
    def __len__(self):
        return 10

    def __getitem__(self, i):
        return np.zeros(3, np.float32), i


def test_data():
    images = data.FashionMNISTMini(train=False)
    assert repr(images) == "FashionMNISTMini(1,000 images of 1x28x28, 10 classes)"
    plain = data.DataLoader(images, 64)
    assert repr(plain) == f"DataLoader({images}, 16 batches of 64)"
    head, row = Cells(plain._repr_html_()).rows
    assert dict(zip(head, row))["data"] == repr(images) and dict(zip(head, row))["batches"] == "16"
    flip = data.transforms.compose(data.transforms.horizontal_flip())
    arrays = np.zeros((10, 1, 4, 4), np.float32), np.zeros(10, np.int64)
    loader = data.DataLoader(arrays, 4, shuffle=True, seed=7, drop_last=True, transform=flip)
    assert repr(loader) == (
        "DataLoader(10x1x4x4 and 10, 2 batches of 4, shuffle=True, drop_last=True, transform=compose, seed=7)"
    )
    assert repr(data.DataLoader(Items(), 4)) == "DataLoader(Items, 3 batches of 4)"


def test_large_tensors_are_summed_up():
    assert len(repr(fc.zeros(1000, 1000))) < 400 and "..." in repr(nn.Parameter(fc.zeros(1000, 1000)))


def test_none_of_the_public_objects_shows_its_address():
    sgd = optim.SGD(NET.parameters())
    for thing in (
        sgd,
        optim.lr_scheduler.StepLR(sgd, 1),
        data.DataLoader(Items()),
        data.FashionMNISTMini(),
        NET,
        nn.Module(),
        train.History(),
        fc.summary(NET, (1, 3, 6, 6)),
        fc.optimize_for_inference(NET),
        fc.tensor(1.0),
    ):
        assert " at 0x" not in repr(thing) and len(repr(thing)) < 2000
