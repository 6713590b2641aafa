"""Each kind of data from Python is the same windows, labels and digest as an .npz of the same arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tcja_deploy.api import data
from tcja_deploy.api.data import windows_of
from tcja_deploy.console import silent
from tcja_runtime.data import dataset
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

SHAPE, CLASSES = (3, 2, 4, 5), ("a", "b", "c")
CONTRACT = InputContract.of(SHAPE)
FRAMES = np.random.default_rng(0).poisson(0.5, (11, *SHAPE)).astype(np.float32)
LABELS = np.arange(11) % 3
X, Y = torch.from_numpy(FRAMES), torch.from_numpy(LABELS)


class Pairs(Dataset):
    """A map-style data set of windows as arrays, and labels as numbers; it has no iterator."""

    def __len__(self):
        return len(FRAMES)

    def __getitem__(self, i):
        if i >= len(FRAMES):
            raise KeyError(i)
        return FRAMES[i], int(LABELS[i])


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def reused():
    """Batches in the same memory, as some loaders give them."""
    memory, labels = np.empty((4, *SHAPE), np.float32), torch.empty(4, dtype=torch.int64)
    for at in range(0, 11, 4):
        n = len(FRAMES[at : at + 4])
        memory[:n], labels[:n] = FRAMES[at : at + 4], Y[at : at + 4]
        yield memory[:n], labels[:n]


class Reused(Dataset):
    """A data set whose items are in the same memory."""

    def __init__(self):
        self.window, self.label = torch.empty(SHAPE), np.zeros((), np.int64)

    def __len__(self):
        return len(FRAMES)

    def __getitem__(self, i):
        self.label[...] = LABELS[i]
        return self.window.copy_(X[i]), self.label


class OtherLibrary:
    """An array that has DLPack, and no methods of torch or numpy."""

    def __init__(self, array):
        self.array = array

    def __getitem__(self, i):
        return self.array[i]

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


KINDS = {
    "arrays": lambda: (FRAMES, LABELS),
    "tensors": lambda: (X.clone().requires_grad_(), Y),
    "an array and a list": lambda: (FRAMES, LABELS.tolist()),
    "an array of another library": lambda: (OtherLibrary(FRAMES), LABELS),
    "a loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=4),
    "a loader of a data set of arrays": lambda: DataLoader(Pairs(), batch_size=5),
    "a generator that uses its memory again": reused,
    "a data set that uses its memory again": Reused,
    "a list of batches": lambda: [(FRAMES[:6], LABELS[:6]), (FRAMES[6:], LABELS[6:])],
    "a data set": Pairs,
    "a data set of tensors": lambda: TensorDataset(X, Y),
    "a data set that can only be iterated over": Stream,
}


NAMED = {
    "a loader of a data set of arrays": "Pairs, ",
    "a data set": "Pairs, ",
    "a data set that uses its memory again": "Reused, ",
    "a data set that can only be iterated over": "Stream, ",
}
"""The names of the data sets that somebody wrote."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "windows.npz"
    np.savez(file, frames=FRAMES, labels=LABELS)
    return dataset.load(file, CONTRACT, CLASSES)


def taken(given, contract=CONTRACT, classes=CLASSES, **options):
    return dataset.load(windows_of(given, silent(), **options), contract, classes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_an_npz_of_it_is(kind, saved):
    found = taken(KINDS[kind]())
    np.testing.assert_array_equal(np.concatenate(list(found.batches(3))), FRAMES)
    np.testing.assert_array_equal(found.labels, saved.labels)
    assert (len(found), found.digest, found.real, found.source) == (
        11,
        saved.digest,
        True,
        f"{NAMED.get(kind, '')}given from Python",
    )
    assert found.digest != taken(FRAMES).digest
    np.testing.assert_array_equal(next(found.first(5).batches(9, start=2)), FRAMES[2:5])


def test_paths_stay_paths(tmp_path):
    assert windows_of(str(tmp_path), silent()) == tmp_path == windows_of(tmp_path, silent())
    assert windows_of(None, silent()) is None


@pytest.mark.parametrize(
    "given",
    [X, FRAMES, (X,), (X, None), [X[:4], X[4:]], DataLoader(TensorDataset(X), 4)],
    ids=["tensor", "array", "one of a tuple", "None", "batches", "loader"],
)
def test_labels_may_be_missing(given):
    found = taken(given)
    assert (len(found), found.labels) == (11, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float16, torch.bfloat16, torch.uint8])
def test_images_of_integers_are_scaled_as_those_of_files_are(dtype):
    contract, values = InputContract.images(1, 2, 3), np.arange(0, 252, 42).reshape(1, 1, 2, 3)
    whole = dtype in (np.uint8, torch.uint8)
    expected = values / 255 if whole else values / 256
    given = (
        torch.from_numpy(values if whole else expected).to(dtype) if str(dtype)[0] == "t" else expected.astype(dtype)
    )
    given = values.astype(dtype) if dtype is np.uint8 else given
    np.testing.assert_allclose(next(taken(given, contract, None).batches(1)), expected, rtol=1e-2 - whole * 0.99e-2)


def test_unusual_values_are_said():
    assert taken(-FRAMES).source.endswith(f", values from {-FRAMES.max():g} to 0 although counts are not negative")


@pytest.mark.parametrize("layout", ["TN", "step"])
@pytest.mark.parametrize(
    ("given", "time_steps"),
    [
        (X.transpose(0, 1), 3),
        ((X.transpose(0, 1), Y), None),
        ([(X[:3].transpose(0, 1), Y[:3]), (X[3:].transpose(0, 1), Y[3:])], None),
        ([X[:3].transpose(0, 1), X[3:].transpose(0, 1)], None),
        (X, 3),
        ((X, Y), None),
    ],
)
def test_where_the_network_takes_time_first_batches_may_be_that_too(layout, given, time_steps):
    found = taken(given, layout=layout, time_steps=time_steps)
    np.testing.assert_array_equal(next(found.batches(11)), FRAMES)


@pytest.mark.parametrize("given", [X[:3], (X[:3], Y[:3]), [(X[:3], Y[:3]), (X[3:6], Y[3:6])]])
def test_as_many_windows_as_time_steps_are_taken_as_documented(given):
    progress = silent()
    found = windows_of(given, progress, layout="TN", time_steps=3)
    np.testing.assert_array_equal(found.batches[0], FRAMES[:3])
    (note,) = progress.notes
    assert "has as many windows as time steps, 3, and is taken as [N, T, ...]; if time is its first" in note


def test_time_first_is_refused_where_the_network_does_not_take_it():
    with pytest.raises(BadInput, match=r"time is its first axis: give values.swapaxes\(0, 1\)"):
        taken(X.transpose(0, 1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            5,
            "`data` is a value of type int, and must be a path, frames, (frames, labels), an iterable of batches, or a",
        ),
        ({"frames": X}, "`data` is a dictionary; give its arrays, (frames, labels), or the path of the file"),
        (b"test.npz", "`data` is a value of type bytes, and must be a path"),
        ([], "`data` has no windows"),
        (iter(()), "`data` has no windows"),
        (DataLoader([], 4), "`data` has no windows"),
        (X[:0], "`data` is empty: its frames have shape (0, 3, 2, 4, 5)"),
        ([X, X[:0]], "batch 2 of `data` is empty"),
        (
            (X, Y, Y),
            "`data` is (Tensor, Tensor, Tensor), and must be an array or a tensor of frames, or (frames, label",
        ),
        ([(X, Y, Y)], "batch 1 of `data` is (Tensor, Tensor, Tensor), and must be"),
        ([X, "b"], "batch 2 of `data` is str, and must be an array or a tensor of frames, or (frames, labels)"),
        ([{"x": X}], "batch 1 of `data` is dict, and must be"),
        ([X, Y], "batch 2 of `data` has shape (11,), which is not that of frames; labels stand in (frames, labels)"),
        ((X, Y[:9]), "`data` has 11 windows and 9 labels; give one for each"),
        ([(X[:4], Y[:4]), (X[4:], Y[:1])], "batch 2 of `data` has 7 windows and 1 label; give one for each"),
        ([(X[:4], Y[:4]), X[4:]], "batch 1 of `data` has labels, and batch 2 of `data` has none; label all windows"),
        ((X, Y.float()), "the labels of `data` must be integers [N], not float32 of shape (11,)"),
        ((X, Y[:, None]), "the labels of `data` must be integers [N], not int64 of shape (11, 1)"),
        (
            [Pairs()[0], Pairs()[1]],
            "the labels of batch 1 of `data` must be integers [N], not int64 of shape (); windows one by one",
        ),
        ((X, [[1], [1, 2]]), "the labels of `data` are no array: "),
        (TensorDataset(X, Y[:, None]), "the labels of window 1 of `data` must be one integer, not int64 of shape (1,)"),
        ([X[:4], X[4:, :, :, :3]], "batch 2 of `data` has windows of shape (3, 2, 3, 5), and batch 1 of `data` of (3,"),
        ([X[:4], X[4:].double()], "batch 2 of `data` has values of type float64, and batch 1 of `data` of float32"),
        (torch.zeros(2, 3).to_sparse(), "`data` cannot be read as an array: "),
    ],
)
def test_other_things_are_refused(given, said):
    with pytest.raises(BadInput) as error:
        windows_of(given, silent())
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (X[:, :2], "`data`: 'frames' has shape (11, 2, 2, 4, 5), the network takes [N, 3, 2, 4, 5] (N, T, P, H, W)"),
        ((X, Y + 1), "`data`: label 3 is outside the network's 3 classes (0..2)"),
        (X / 0, "`data`: 'frames' has values that are NaN, infinite or too large for float32"),
        (FRAMES.astype(complex), "`data`: 'frames' has type complex128, it must have numbers"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_as_in_files(given, said):
    with pytest.raises(BadInput) as error:
        list(taken(given).batches(4))
    assert str(error.value) == said


def test_no_more_is_read_than_is_asked_for():
    read = []

    def endless():
        for i in itertools.count():
            read.append(i)
            yield FRAMES[:4]

    found = windows_of(endless(), silent(), samples=6)
    assert (found.shape[0], read) == (8, [0, 1])
    assert windows_of(Pairs(), silent(), samples=3).shape[0] == 3


@pytest.mark.parametrize("kind", [itertools.repeat, lambda _: Endless()])
def test_an_iterable_without_end_is_refused(kind, monkeypatch):
    monkeypatch.setattr(data, "MOST_BYTES", 2**20)
    said = (
        "GiB in its first 2,... windows, and no more is read into memory; give a smaller number of `samples`, or save"
    )
    with pytest.raises(BadInput, match=said):
        windows_of(kind(FRAMES), silent())


class Endless(IterableDataset):
    def __iter__(self):
        return itertools.cycle(FRAMES)
