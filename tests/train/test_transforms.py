"""Transforms as objects: against formulas and PyTorch's interpolation, for every kind of image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.data import transforms as T

SEED = 3


def images(n=4, c=3, h=9, w=7, dtype="float32", seed=0):
    x = np.random.default_rng(seed).random((n, c, h, w))
    return (x * 255).astype(dtype) if np.dtype(dtype).kind in "iu" else x.astype(dtype)


def applied(transform, x, seed=SEED):
    return transform(x, np.random.default_rng(seed))


def grey_weights(x):
    return np.tensordot([0.2989, 0.587, 0.114], x.astype(np.float64), (0, x.ndim - 3))


EVERY = {
    "ToTensor": T.ToTensor(),
    "PILToTensor": T.PILToTensor(),
    "ConvertImageDtype": T.ConvertImageDtype("float32"),
    "Normalize": T.Compose([T.ConvertImageDtype("float32"), T.Normalize((0.1, 0.2, 0.3), (1, 2, 4))]),
    "Pad": T.Pad((1, 2), 3),
    "CenterCrop": T.CenterCrop((5, 12)),
    "RandomCrop": T.RandomCrop(7, padding=2),
    "RandomHorizontalFlip": T.RandomHorizontalFlip(),
    "RandomVerticalFlip": T.RandomVerticalFlip(),
    "Resize": T.Resize(5),
    "RandomResizedCrop": T.RandomResizedCrop(6),
    "ColorJitter": T.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "Grayscale": T.Grayscale(3),
    "RandomGrayscale": T.RandomGrayscale(0.5),
    "RandomRotation": T.RandomRotation(40, "bilinear"),
    "RandomAffine": T.RandomAffine(10, (0.1, 0.2), (0.8, 1.2), 5),
    "GaussianBlur": T.GaussianBlur(3),
    "RandomErasing": T.RandomErasing(),
    "RandomApply": T.RandomApply([T.RandomRotation(40)]),
    "RandomChoice": T.RandomChoice([T.CenterCrop(5), T.RandomCrop(5)]),
    "RandomOrder": T.RandomOrder([T.RandomCrop(8, 2), T.RandomHorizontalFlip()]),
    "Compose": T.Compose([T.RandomCrop(8), T.RandomHorizontalFlip()]),
}
RANDOM = [n for n in EVERY if n.startswith(("Random", "Color", "Gauss", "Compose"))]


# ------------------------------------------------------------------------------------------------- all
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
@pytest.mark.parametrize("name", EVERY)
def test_every_kind_of_image(name, dtype):
    """The same result for an array, a Tensor and a non-contiguous one; the image is not written to."""
    transform, x = EVERY[name], images(dtype=dtype, h=9, w=9)
    before = x.copy()
    want = applied(transform, x)
    assert isinstance(want, np.ndarray) and want.ndim == 4 and len(want) == 4
    converted = name in ("Normalize", "ConvertImageDtype") or (name == "ToTensor" and dtype == "uint8")
    assert want.dtype == np.dtype("float32" if converted else dtype)
    tensor = applied(transform, fc.tensor(x))
    assert isinstance(tensor, fc.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), want)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(applied(transform, last), want)
    np.testing.assert_array_equal(x, before)
    if name not in ("ToTensor", "PILToTensor"):  # these take H x W x C
        one = applied(transform, x[0])
        assert one.shape == want.shape[1:] and one.dtype == want.dtype
    single = applied(transform, fc.tensor(x[0]))
    assert isinstance(single, fc.Tensor) and single.shape == want.shape[1:]
    assert applied(transform, x[:0]).shape[0] == 0 or name == "RandomChoice"


@pytest.mark.parametrize("name", EVERY)
def test_images_of_pillow(name):
    Image = pytest.importorskip("PIL.Image")
    for x in (images(1, h=9, w=9, dtype="uint8")[0], images(1, 1, 9, 9, "uint8")[0]):
        if name in ("Normalize", "ConvertImageDtype") or (name == "Grayscale" and len(x) == 1):
            continue  # results that no image of this mode holds
        picture = Image.fromarray(x.transpose(1, 2, 0) if len(x) == 3 else x[0])
        got = applied(EVERY[name], picture)
        if name in ("ToTensor", "PILToTensor"):
            np.testing.assert_array_equal(got.numpy(), x if name[0] == "P" else x / np.float32(255))
        else:
            want = applied(EVERY[name], x)
            assert got.mode == picture.mode and got.size == want.shape[:0:-1]
            tolerance = 1 if name in ("Resize", "RandomResizedCrop") else 0  # Pillow resizes its own
            pixels = T.PILToTensor()(got).numpy().astype(int)
            assert np.abs(pixels - want).max() <= tolerance


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_repeat_and_images_differ(name):
    x = np.repeat(images(1, h=9, w=9), 40, 0)
    a, b, other = applied(EVERY[name], x), applied(EVERY[name], x), applied(EVERY[name], x, SEED + 1)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, other) and len({y.tobytes() for y in a}) > 1
    fc.manual_seed(1)
    first = EVERY[name](x)
    fc.manual_seed(1)
    np.testing.assert_array_equal(EVERY[name](x), first)


def test_a_fixed_transform_draws_nothing():
    fc.manual_seed(1)
    want = fc.rand(2).tolist()
    fc.manual_seed(1)
    T.Compose([T.CenterCrop(4), T.Resize(3), T.ToTensor(), T.Normalize(0, 1), T.Grayscale()])(images())
    assert fc.rand(2).tolist() == want


# ------------------------------------------------------------------------------------------------- values
def test_to_tensor():
    x = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    y = T.ToTensor()(x)
    assert isinstance(y, fc.Tensor) and y.shape == (3, 4, 2) and y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), x.transpose(2, 0, 1) / np.float32(255))
    assert T.ToTensor()(x[..., 0]).shape == (1, 4, 2)
    assert T.ToTensor()(x.astype(np.int32)).dtype == np.int32 and T.ToTensor()(x / 2.0).dtype == np.float64
    batch = images(dtype="uint8")
    np.testing.assert_array_equal(T.ToTensor()(batch), batch / np.float32(255))
    np.testing.assert_array_equal(T.ToTensor()(fc.tensor(batch[0])).numpy(), batch[0] / np.float32(255))


def test_there_and_back_through_pillow():
    pytest.importorskip("PIL.Image")
    for c, mode in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")):
        x = images(1, c, dtype="uint8")[0]
        picture = T.ToPILImage()(fc.tensor(x))
        assert picture.mode == mode and picture.size == (7, 9)
        np.testing.assert_array_equal(T.PILToTensor()(picture).numpy(), x)
    for dtype, mode in (("int32", "I"), ("uint16", "I;16"), ("float32", "F")):
        x = images(1, 1, dtype=dtype)[0]
        picture = T.ToPILImage(mode if mode == "F" else None)(x.transpose(1, 2, 0))
        assert picture.mode == mode
        np.testing.assert_array_equal(T.ToTensor()(picture).numpy(), x)
    assert T.ToPILImage()(fc.full((3, 2, 2), 0.5)).getpixel((0, 0)) == (127, 127, 127)
    white = T.ToPILImage("1")(np.array([[0, 255]], np.uint8))
    assert T.ToTensor()(white).tolist() == [[[0, 1]]] and T.PILToTensor()(white).tolist() == [[[0, 1]]]
    assert T.ToPILImage("HSV")(images(1, dtype="uint8")[0].transpose(1, 2, 0)).mode == "HSV"


def test_convert_image_dtype():
    x = np.array([[[0, 0.5, 1]]])
    for dtype, top in (("uint8", 255), ("int16", 32767), ("int32", 2**31 - 1)):
        assert T.ConvertImageDtype(dtype)(x).ravel().tolist() == [0, top // 2, top]
    bytes_ = np.array([[[0, 51, 255]]], np.uint8)
    np.testing.assert_allclose(T.ConvertImageDtype("float32")(bytes_).ravel(), [0, 0.2, 1], rtol=1e-6)
    assert T.ConvertImageDtype("int16")(bytes_).ravel().tolist() == [0, 51 * 128, 255 * 128]
    assert T.ConvertImageDtype("uint8")(T.ConvertImageDtype("int16")(bytes_)).tolist() == bytes_.tolist()
    assert (
        T.ConvertImageDtype("float32")(x).dtype == np.float32
        and T.ConvertImageDtype("float64")(x) is not None
    )


def test_normalize():
    x, mean, std = images(), [0.1, 0.2, 0.3], [0.5, 2, -1]
    want = (x - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(T.Normalize(mean, std)(x), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        T.Normalize(fc.tensor(mean), np.array(std))(x[0]), want[0], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(T.Normalize(0.5, 0.25)(x), (x - 0.5) / 0.25, rtol=1e-5)
    y = fc.tensor(x)
    z = T.Normalize(mean, std, inplace=True)(y)
    np.testing.assert_array_equal(y.numpy(), z.numpy())
    assert not np.array_equal(y.numpy(), x)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(0, 3)] * 4),
    st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    st.integers(4, 6),
    st.integers(4, 7),
)
def test_pad(sides, mode, h, w):
    x = images(2, 2, h, w)
    left, top, right, bottom = sides
    want = np.pad(
        x,
        ((0, 0), (0, 0), (top, bottom), (left, right)),
        mode,
        **({"constant_values": 2} if mode == "constant" else {}),
    )
    np.testing.assert_array_equal(T.Pad(list(sides), 2, mode)(x), want)
    np.testing.assert_array_equal(T.Pad((left, top), 2, mode)(x), T.Pad((left, top, left, top), 2, mode)(x))


def test_pad_with_a_colour():
    y = T.Pad(1, (1, 2, 3))(images())
    assert y[0, :, 0, 0].tolist() == [1, 2, 3] and y.shape == (4, 3, 11, 9)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))
def test_center_crop(h, w, ch, cw):
    x = images(1, 1, h, w) + 1
    y = T.CenterCrop((ch, cw))(x)
    assert y.shape == (1, 1, ch, cw) and (y > 0).sum() == min(h, ch) * min(w, cw)
    if h >= ch and w >= cw:
        top, left = round((h - ch) / 2), round((w - cw) / 2)
        np.testing.assert_array_equal(y, x[:, :, top : top + ch, left : left + cw])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_random_crop(pad, h, w, seed):
    x = images(3, 2, h, w) + 1
    size = (max(h + 2 * pad - 1, 1), max(w + 2 * pad - 2, 1))
    y = applied(T.RandomCrop(size, padding=pad), x, seed)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    for image, crop in zip(padded, y):
        places = np.lib.stride_tricks.sliding_window_view(image, size, (1, 2))
        assert any(
            np.array_equal(places[:, i, j], crop)
            for i in range(places.shape[1])
            for j in range(places.shape[2])
        )


def test_random_crop_reaches_every_place():
    x = np.arange(9.0).reshape(1, 1, 3, 3).repeat(900, 0)
    counts = np.bincount(applied(T.RandomCrop(1), x).ravel().astype(int), minlength=9)
    assert counts.min() > 60
    small = T.RandomCrop(6, pad_if_needed=True, padding_mode="edge")(images(2, 1, 3, 9))
    assert small.shape == (2, 1, 6, 6)


def test_flips():
    x = images(500)
    for transform, flipped in (
        (T.RandomHorizontalFlip(0.3), x[..., ::-1]),
        (T.RandomVerticalFlip(0.3), x[:, :, ::-1]),
    ):
        y = applied(transform, x)
        mirrored = [np.array_equal(a, b) for a, b in zip(y, flipped)]
        kept = [np.array_equal(a, b) for a, b in zip(y, x)]
        assert all(a != b for a, b in zip(mirrored, kept)) and abs(np.mean(mirrored) - 0.3) < 0.07


def test_five_and_ten():
    x = np.arange(20.0).reshape(1, 4, 5)
    five = T.FiveCrop(2)(fc.tensor(x))
    assert [c[0, 0, 0].item() for c in five] == [0, 3, 10, 13, 7] and isinstance(five, tuple)
    ten, flipped = T.TenCrop(2)(x), T.FiveCrop(2)(x[..., ::-1])
    assert all(np.array_equal(a, b) for a, b in zip(ten[5:], flipped))
    assert T.TenCrop(2, vertical_flip=True)(x)[5].tolist() == x[:, ::-1][:, :2, :2].tolist()


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 15),
    st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]),
    st.booleans(),
    st.sampled_from(["float32", "float64", "uint8"]),
)
def test_resize_agrees_with_pytorch(h, w, oh, ow, mode, antialias, dtype):
    torch = pytest.importorskip("torch")
    x = images(2, 2, h, w, dtype)
    linear = mode in ("bilinear", "bicubic")
    options = {"align_corners": False, "antialias": antialias} if linear else {}
    floats = torch.from_numpy(x if dtype == "float64" else x.astype(np.float32))
    want = torch.nn.functional.interpolate(floats, (oh, ow), mode=mode, **options).numpy()
    got = T.Resize((oh, ow), mode, antialias=antialias)(x)
    assert got.dtype == x.dtype and got.shape == want.shape
    if dtype == "uint8":
        assert np.abs(got - np.rint(want).clip(0, 255)).max() <= 1
    else:
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_the_shorter_side():
    assert T.Resize(4)(images(h=8, w=10)).shape[2:] == (4, 5)
    assert T.Resize([4])(images(h=11, w=8)).shape[2:] == (5, 4)
    assert T.Resize(4, max_size=6)(images(h=8, w=40)).shape[2:] == (1, 6)
    assert T.Resize(9, T.InterpolationMode.NEAREST)(images(h=9, w=9)).shape[2:] == (9, 9)
    assert T.Resize(4, 2).interpolation is T.InterpolationMode.BILINEAR  # Pillow's number


def test_random_resized_crop():
    x = images(300, 1, 20, 30)
    transform = T.RandomResizedCrop(8, scale=(0.2, 0.5), ratio=(0.5, 2))
    boxes = transform.boxes(2000, 20, 30, np.random.default_rng(0))
    top, left, h, w = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + h <= 20).all() and (left + w <= 30).all()
    area = h * w / 600
    assert 0.15 < area.min() and area.max() < 0.55 and abs(area.mean() - 0.35) < 0.03
    assert (w / h).min() > 0.4 and (w / h).max() < 2.3 and applied(transform, x).shape == (300, 1, 8, 8)
    whole = T.RandomResizedCrop((20, 30), (1, 1), (1.5, 1.5))
    np.testing.assert_array_equal(applied(whole, x), x)
    wide = T.RandomResizedCrop(4, (1, 1), (1, 1)).boxes(1, 10, 100, np.random.default_rng(0))
    assert wide.tolist() == [[0, 45, 10, 10]]  # no attempt fits: the middle


def test_jitter():
    x = images(6)
    factor, shape = 0.7, (6, 1, 1, 1)
    close = {"rtol": 1e-4, "atol": 1e-5}
    one = (factor, factor)
    np.testing.assert_allclose(T.ColorJitter(brightness=one)(x), factor * x, **close)
    grey = grey_weights(x)
    mean = grey.mean((1, 2)).reshape(shape)
    np.testing.assert_allclose(T.ColorJitter(contrast=one)(x), factor * x + 0.3 * mean, **close)
    np.testing.assert_allclose(T.ColorJitter(saturation=one)(x), factor * x + 0.3 * grey[:, None], **close)
    np.testing.assert_allclose(T.ColorJitter(0, 0, 0, 0)(x), x, rtol=1e-6)
    assert (
        T.ColorJitter(brightness=(3, 3))(x).max() == 1
        and T.ColorJitter(3)(images(dtype="uint8")).dtype == np.uint8
    )


def test_hue():
    import colorsys

    x = images(2, 3, 3, 3)
    y = T.ColorJitter(hue=(0.2, 0.2))(x)
    for n, i, j in np.ndindex(2, 3, 3):
        h, s, v = colorsys.rgb_to_hsv(*x[n, :, i, j].tolist())
        want = colorsys.hsv_to_rgb((h + 0.2) % 1, s, v)
        np.testing.assert_allclose(y[n, :, i, j], want, atol=1e-5)
    grey = np.full((1, 3, 2, 2), 0.4, np.float32)
    np.testing.assert_allclose(T.ColorJitter(hue=0.5)(grey), grey, atol=1e-6)
    np.testing.assert_array_equal(T.ColorJitter(hue=0.5)(images(c=1)), images(c=1))


def test_grey():
    x = images()
    np.testing.assert_allclose(T.Grayscale()(x)[:, 0], grey_weights(x), rtol=1e-5)
    assert T.Grayscale(3)(images(c=1)).shape[1] == 3
    y = applied(T.RandomGrayscale(0.5), images(200))
    grey = (y[:, 0] == y[:, 1]).all((1, 2))
    assert abs(grey.mean() - 0.5) < 0.12


def test_blur():
    x = images(2, 2, 8, 9)
    kernel = np.exp(-0.5 * (np.arange(-1, 2) / 0.8) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect")
    want = sum(kernel[i] * kernel[j] * padded[:, :, i : i + 8, j : j + 9] for i in range(3) for j in range(3))
    np.testing.assert_allclose(T.GaussianBlur(3, 0.8)(x), want, rtol=1e-5)
    assert T.GaussianBlur((1, 3))(x).shape == x.shape


# ------------------------------------------------------------------------------------------------- affine
@pytest.mark.parametrize("quarter", [1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_quarter_turns(quarter, mode):
    x = images(h=8, w=8)
    y = T.RandomRotation((90 * quarter,) * 2, mode)(x)
    np.testing.assert_allclose(y, np.rot90(x, quarter, (2, 3)), atol=1e-5)
    if quarter != 2:
        wide = images(1, h=4, w=8)
        turned = T.RandomRotation((90 * quarter,) * 2, mode, expand=True)(wide)
        np.testing.assert_allclose(turned, np.rot90(wide, quarter, (2, 3)), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.floats(-180, 180), st.floats(0.5, 2), st.floats(-30, 30), st.integers(3, 9), st.integers(3, 9))
def test_affine_against_pytorchs_grid_sample(angle, scale, shear, h, w):
    torch = pytest.importorskip("torch")
    x = images(1, 2, h, w, "float64")
    y = T.RandomAffine((angle, angle), None, (scale, scale), (shear, shear), "bilinear")(x)
    a, s = math.radians(angle), math.tan(math.radians(shear))
    forward = scale * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) @ [[1, -s], [0, 1]]
    size = np.array([w, h]) / 2  # grid_sample counts from -1 to 1
    theta = np.linalg.inv(forward) * size / size[:, None]
    grid = torch.nn.functional.affine_grid(
        torch.tensor(np.concatenate([theta, np.zeros((2, 1))], 1))[None], (1, 2, h, w), align_corners=False
    )

    def sample(values):
        return torch.nn.functional.grid_sample(torch.from_numpy(values), grid, align_corners=False).numpy()

    covered = sample(np.ones_like(x))
    np.testing.assert_allclose(y, sample(x) * covered, atol=1e-5)


def test_what_lies_outside_is_filled():
    x = np.ones((2, 3, 9, 9), np.float32)
    y = T.RandomRotation((45, 45), fill=(5, 6, 7))(x)
    assert y[0, :, 0, 0].tolist() == [5, 6, 7] and y[0, :, 4, 4].tolist() == [1, 1, 1]
    moved = T.RandomAffine(0, translate=(0.5, 0))(
        np.ones((200, 1, 1, 10), np.float32), np.random.default_rng(0)
    )
    assert {int(v) for v in moved.sum((1, 2, 3))} == {5, 6, 7, 8, 9, 10}
    corner = T.RandomRotation((90, 90), center=(0, 0))(x)
    assert corner.sum() == 0 or corner[0, 0, 0].sum() <= 9


# ------------------------------------------------------------------------------------------------- mixed
def test_random_erasing():
    x = np.ones((400, 2, 20, 10), np.float32)
    y = applied(T.RandomErasing(0.5, scale=(0.1, 0.2)), x)
    areas = (y[:, 0] == 0).sum((1, 2))
    assert abs((areas > 0).mean() - 0.5) < 0.1 and 15 <= areas[areas > 0].min() and areas.max() <= 44
    for image in y[:20, 0]:
        rows, columns = np.nonzero(image == 0)
        if len(rows):  # a rectangle
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    coloured = applied(T.RandomErasing(1, value=(2, 3)), x)
    assert set(np.unique(coloured[:, 0])) == {1, 2} and set(np.unique(coloured[:, 1])) == {1, 3}
    noise = applied(T.RandomErasing(1, value="random"), x)
    assert len(np.unique(noise)) > 1000
    own = x.copy()
    assert applied(T.RandomErasing(1, inplace=True), own) is not None and own.min() == 0


@pytest.mark.parametrize("kind", [T.MixUp, T.CutMix])
def test_mixing(kind):
    x = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) * np.ones((5, 2, 8, 6), np.float32)
    labels = np.arange(5)
    mixed, y = kind(num_classes=5)(x, labels, np.random.default_rng(4))
    share = y[0, 0]
    assert 0 < share < 1 and y.dtype == np.float32
    np.testing.assert_allclose(y, share * np.eye(5) + (1 - share) * np.roll(np.eye(5), 1, 0), atol=1e-6)
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), y @ np.arange(5), atol=1e-4)  # labels follow the pixels
    if kind is T.CutMix:
        assert set(np.unique(mixed[2])) == {1, 2}
    tensors = kind(num_classes=5)(fc.tensor(x), fc.tensor(labels), np.random.default_rng(4))
    assert all(isinstance(t, fc.Tensor) for t in tensors)
    np.testing.assert_array_equal(tensors[0].numpy(), mixed)
    soft = kind()(x, y, np.random.default_rng(4))[1]
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)


# ------------------------------------------------------------------------------------------------- of others
def test_compose():
    seen = []
    chain = T.Compose([T.Lambda(lambda x: seen.append(x.shape) or x), lambda x: x * 2, T.CenterCrop(4)])
    y = chain(images())
    assert y.shape[2:] == (4, 4) and seen == [(4, 3, 9, 7)] and not chain.batched
    assert T.Compose([T.CenterCrop(4), T.RandomApply([T.Resize(3)])]).batched
    assert repr(T.Compose([T.ToTensor(), T.Compose([T.Pad(1)])])) == (
        "Compose(\n    ToTensor()\n    Compose(\n"
        "        Pad(padding=1, fill=0, padding_mode='constant')\n    )\n)"
    )
    assert repr(T.RandomApply([T.ToTensor()], 0.3)) == "RandomApply(\n    p=0.3\n    ToTensor()\n)"


def test_random_apply_and_choice():
    x = images(400)
    y = applied(T.RandomApply([T.Lambda(lambda b: b + 1), T.Lambda(lambda b: b * 2)], 0.25), x)
    changed = np.array([not np.array_equal(a, b) for a, b in zip(x, y)])
    assert abs(changed.mean() - 0.25) < 0.08
    np.testing.assert_array_equal(y[changed], (x[changed] + 1) * 2)
    choice = T.RandomChoice([T.Lambda(lambda b: b * 0), T.Lambda(lambda b: b * 0 + 1)], p=[1, 3])
    assert abs(applied(choice, x).mean() - 0.75) < 0.08
    assert T.RandomChoice([T.Pad(1)])(x[0]).shape == (3, 11, 9)
    with pytest.raises(
        ValueError, match="RandomChoice: the transforms must give the images of a batch one shape"
    ):
        T.RandomChoice([T.Pad(1), T.Pad(2)])(x)
    orders = {float(v) for v in T.RandomOrder([lambda b: b + 1, lambda b: b * 2])(x * 0).ravel()}
    assert orders == {1.0, 2.0}


# ------------------------------------------------------------------------------------------------- refusals
IMAGE = np.zeros((3, 8, 8), np.float32)
BYTES = np.zeros((3, 8, 8), np.uint8)
BAD = {
    "no image": (lambda: T.CenterCrop(2)("cat"), "CenterCrop: expected a Tensor or an array .* got str"),
    "rank": (
        lambda: T.CenterCrop(2)(np.ones((2, 2))),
        r"CenterCrop: image must have 3 or 4 dimensions .*2 \(2x2\)",
    ),
    "rank 5": (lambda: T.RandomCrop(2)(np.ones((1,) * 5)), "RandomCrop: image must have 3 or 4 dimensions"),
    "dtype": (
        lambda: T.CenterCrop(1)(np.full((1, 1, 1), "a")),
        "CenterCrop: image must hold numbers, got <U1",
    ),
    "ToTensor": (lambda: T.ToTensor()([1]), "ToTensor: expected a Pillow image or an array, got list"),
    "ToTensor rank": (
        lambda: T.ToTensor()(np.ones(3)),
        r"ToTensor: image must have 2 or 3 dimensions .*1 \(3\)",
    ),
    "PILToTensor": (
        lambda: T.PILToTensor()(IMAGE),
        "PILToTensor: expected a Pillow image, got ndarray; ToTensor",
    ),
    "ToPILImage": (
        lambda: T.ToPILImage()(np.ones((1, 2, 3, 4))),
        "ToPILImage: image must have 2 or 3 .*; give one",
    ),
    "ToPILImage mode": (lambda: T.ToPILImage("rgb"), "ToPILImage: mode must be .*got 'rgb'"),
    "ToPILImage channels": (
        lambda: T.ToPILImage()(fc.zeros(5, 2, 2)),
        "no Pillow image holds 5 channels of uint8",
    ),
    "ToPILImage wrong mode": (
        lambda: T.ToPILImage("L")(fc.zeros(3, 2, 2)),
        "mode must be 'RGB' or .* got 'L'",
    ),
    "dtype kind": (
        lambda: T.ConvertImageDtype("bool"),
        "ConvertImageDtype: dtype must be a float or an integer",
    ),
    "exact": (lambda: T.ConvertImageDtype("int64")(IMAGE), "float32 cannot hold the largest int64 exactly"),
    "Normalize": (
        lambda: T.Normalize(0, 1)(BYTES),
        r"Normalize: image must hold floats, got uint8; put ToTensor\(\)",
    ),
    "Normalize std": (lambda: T.Normalize(0, (1, 0)), "Normalize: std must not be 0"),
    "Normalize channels": (
        lambda: T.Normalize((1, 2), 1)(IMAGE),
        r"mean \(2\) and std \(1\) must be .* 3 channels",
    ),
    "Normalize word": (
        lambda: T.Normalize("a", 1),
        "Normalize: mean must be a number or one per channel, got 'a'",
    ),
    "Normalize nan": (lambda: T.Normalize(0, math.nan), "Normalize: std must be a number"),
    "Pad": (lambda: T.Pad((1, 2, 3)), "Pad: padding must be an int, .*got .1, 2, 3."),
    "Pad negative": (lambda: T.Pad(-1), "Pad: padding must be at least 0"),
    "Pad mode": (lambda: T.Pad(1, 0, "wrap"), "Pad: padding_mode must be 'constant'.* got 'wrap'"),
    "Pad fill": (lambda: T.Pad(1, "red"), "Pad: fill must be a number, got 'red'"),
    "Pad colour": (
        lambda: T.Pad(1, (1, 2))(IMAGE),
        "Pad: fill must be one number or one for each of 3 channels",
    ),
    "Pad reflect": (lambda: T.Pad(8, 0, "reflect")(IMAGE), "Pad: padding .* needs a larger image than 8x8"),
    "crop": (
        lambda: T.RandomCrop(9)(IMAGE),
        "RandomCrop: the image .8x8 .* is smaller than size 9x9; give padding=",
    ),
    "crop size": (lambda: T.RandomCrop((1, 2, 3)), "RandomCrop: size must be an int or 2 ints"),
    "crop zero": (lambda: T.CenterCrop(0), "CenterCrop: size must be at least 1"),
    "five": (lambda: T.FiveCrop(9)(IMAGE), "FiveCrop: the image .8x8. is smaller than size 9x9; resize it"),
    "flip": (lambda: T.RandomHorizontalFlip(1.5), "RandomHorizontalFlip: p must be between 0 and 1, got 1.5"),
    "flip word": (lambda: T.RandomVerticalFlip("x"), "RandomVerticalFlip: p must be a number, got 'x'"),
    "resize": (lambda: T.Resize(0), "Resize: size must be at least 1"),
    "resize mode": (lambda: T.Resize(3, "cubic"), "Resize: interpolation must be .* got 'cubic'"),
    "resize lanczos": (
        lambda: T.Resize(3, "lanczos")(IMAGE),
        "Resize: interpolation must be 'nearest'.*LANCZOS",
    ),
    "resize both": (lambda: T.Resize((3, 4), max_size=5), "max_size needs size to be one int"),
    "resize max": (lambda: T.Resize(5, max_size=5), r"max_size must be above size \(5\), got 5"),
    "resize empty": (lambda: T.Resize(5)(np.ones((3, 0, 2))), "Resize: the image has no pixels"),
    "scale": (lambda: T.RandomResizedCrop(4, scale=(1, 0.5)), "scale must be .min, max. with min <= max"),
    "scale one": (lambda: T.RandomResizedCrop(4, scale=1), "scale must be two numbers .min, max., got 1"),
    "ratio": (lambda: T.RandomResizedCrop(4, ratio=(0, 1)), "ratio must be above 0"),
    "jitter": (lambda: T.ColorJitter(-1), "ColorJitter: brightness must be between 0 and inf"),
    "jitter hue": (lambda: T.ColorJitter(hue=0.6), "ColorJitter: hue must be between 0 and 0.5, got 0.6"),
    "jitter channels": (
        lambda: T.ColorJitter(1)(np.ones((8, 8, 3))),
        r"1 or 3 channels, got 8; is it H x W x C\?",
    ),
    "grey": (lambda: T.Grayscale(2), "Grayscale: num_output_channels must be 1 or 3, got 2"),
    "grey channels": (
        lambda: T.Grayscale()(np.ones((2, 4, 4))),
        "Grayscale: image must have 1 or 3 channels, got 2",
    ),
    "rotation": (lambda: T.RandomRotation(-3), "RandomRotation: degrees must be at least 0, got -3"),
    "rotation mode": (
        lambda: T.RandomRotation(3, "bicubic"),
        "interpolation must be 'nearest' or 'bilinear'",
    ),
    "rotation expand": (
        lambda: T.RandomRotation(3, expand=True)(images()),
        "expand=True takes single images",
    ),
    "rotation bool": (
        lambda: T.RandomRotation(3, expand="no"),
        "RandomRotation: expand must be True or False",
    ),
    "ten crop": (lambda: T.TenCrop(3, "no"), "TenCrop: vertical_flip must be True or False, got 'no'"),
    "crop bool": (lambda: T.RandomCrop(3, 0, 1), "RandomCrop: pad_if_needed must be True or False, got 1"),
    "rotation center": (lambda: T.RandomRotation(3, center=3), r"center must be \(x, y\), got 3"),
    "affine": (lambda: T.RandomAffine(0, translate=(2, 0)), "translate must be between 0 and 1, got 2"),
    "affine scale": (lambda: T.RandomAffine(0, scale=(0, 1)), "RandomAffine: scale must be above 0"),
    "blur": (lambda: T.GaussianBlur(2), "GaussianBlur: kernel_size must be odd, got 2"),
    "blur sigma": (lambda: T.GaussianBlur(3, 0), "GaussianBlur: sigma must be above 0, got 0"),
    "blur size": (lambda: T.GaussianBlur(17)(IMAGE), "kernel_size .* is too large for images of 8x8"),
    "erasing": (lambda: T.RandomErasing(value="noise"), "value must be numbers or 'random', got 'noise'"),
    "erasing bytes": (lambda: T.RandomErasing(value="random")(BYTES), "needs images of floats, got uint8"),
    "erasing channels": (lambda: T.RandomErasing(value=(1, 2))(IMAGE), "one for each of 3 channels"),
    "apply": (
        lambda: T.RandomApply(T.Pad(1)),
        "RandomApply: transforms must be a list of transforms, got Pad",
    ),
    "compose": (lambda: T.Compose([3]), "Compose: transforms must be callables of one image, got 3"),
    "compose class": (lambda: T.Compose([T.ToTensor]), r"got <class .*; make one: ToTensor\(...\)"),
    "choice": (lambda: T.RandomChoice([]), "RandomChoice: expected at least one transform"),
    "choice p": (
        lambda: T.RandomChoice([T.Pad(1)], [1, 2]),
        "RandomChoice: p must have a weight of at least 0 for",
    ),
    "lambda": (lambda: T.Lambda(3), "Lambda: lambd must be callable, got 3"),
    "mixup": (
        lambda: T.MixUp()(images(), np.arange(4)),
        "MixUp: labels are class numbers, so give num_classes=",
    ),
    "mixup alone": (
        lambda: T.MixUp(num_classes=3)(images()),
        "MixUp: expected a batch of images and its labels",
    ),
    "mixup range": (lambda: T.MixUp(num_classes=3)(images(), np.arange(4)), "labels must be 0 to 2, got 3"),
    "mixup floats": (
        lambda: T.MixUp(num_classes=3)(images(), np.ones(4)),
        "class numbers must be integers, got float",
    ),
    "mixup columns": (lambda: T.MixUp(num_classes=3)(images(), np.ones((4, 2))), "the labels have 2 columns"),
    "mixup count": (
        lambda: T.CutMix(num_classes=3)(images(), np.arange(3)),
        "CutMix: labels must be 4 class numbers",
    ),
    "mixup one": (
        lambda: T.CutMix(num_classes=3)(IMAGE, np.arange(3)),
        "CutMix: expected a batch N x C x H x W, got",
    ),
    "mixup alpha": (lambda: T.MixUp(alpha=0), "MixUp: alpha must be above 0, got 0"),
    "mixup classes": (lambda: T.MixUp(num_classes=0), "MixUp: num_classes must be at least 1"),
    "mixup getter": (lambda: T.MixUp(labels_getter=str), "MixUp: labels_getter must be 'default'"),
    "mixup bytes": (
        lambda: T.MixUp(num_classes=4)(images(dtype="uint8"), np.arange(4)),
        "MixUp: images must hold floats, got uint8",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    make, message = BAD[case]
    if case.startswith("ToPILImage"):
        pytest.importorskip("PIL.Image")
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_images_of_pillow_that_are_refused():
    Image = pytest.importorskip("PIL.Image")
    picture = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"ToTensor: images of mode 'P' are not supported; convert it: image.conv"
    ):
        T.ToTensor()(picture.convert("P"))


@settings(deadline=None, max_examples=120)
@given(st.sampled_from(sorted(EVERY)), st.data())
def test_every_shape_works_or_is_refused_with_the_name(name, draw):
    """Whatever the image: a result, or an error of the project that begins with the name of a transform."""
    shape = draw.draw(st.lists(st.integers(0, 9), min_size=0, max_size=5))
    dtype = draw.draw(st.sampled_from(["float32", "float64", "uint8", "int64", "bool", "float16"]))
    x = np.ones(shape, dtype)
    try:
        applied(EVERY[name], x)
    except (ValueError, TypeError) as e:
        assert str(e).split(":")[0] in vars(T), str(e)
