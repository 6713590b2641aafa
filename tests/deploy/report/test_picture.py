"""Pages of windows: the pixels of their frames, and what they say of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tcja_deploy.report.picture import PicturedWindow, page

from ...pictures import decoded

T, SIDE = 3, 6
POLARITIES = [("off", "on"), ("on", "off")]
RED, BLUE, DARK = (184, 64, 26), (8, 81, 156), (40, 40, 40)


def seen(
    inputs: np.ndarray,
    polarity: tuple[str, str] | None = None,
    top: object = (("a", 0.5),),
    kind: str = "frames",
) -> PicturedWindow:
    return PicturedWindow(title="a window", label=None, top=top, kind=kind, inputs=inputs, polarity=polarity, gates={})


def frames(planes: int) -> np.ndarray:
    """In frame t plane p has p + 1 events at row p, column t; the last plane two more at row 5, column 5."""
    found = np.zeros((T, planes, SIDE, SIDE), np.float32)
    for t in range(T):
        for p in range(planes):
            found[t, p, p, t] = p + 1
        found[t, -1, 5, 5] = 4
    return found


def mixed(ink: tuple[int, int, int], share: float) -> list[int]:
    """An ink on white paper."""
    return [int(255 - (255 - value) * share**0.5) for value in ink]


@pytest.mark.parametrize("polarity", POLARITIES)
def test_each_polarity_has_its_ink(polarity):
    text = page("a page", [seen(frames(2), polarity)])
    first, second = ({"off": RED, "on": BLUE}[name] for name in polarity)
    pictures = decoded(text)
    assert len(pictures) == T
    for t, picture in enumerate(pictures):
        expected = np.full((SIDE, SIDE, 3), 255)
        expected[0, t], expected[1, t], expected[5, 5] = mixed(first, 1 / 4), mixed(second, 2 / 4), second
        assert np.abs(picture.astype(int) - expected).max() <= 1
    counts = dict(zip(polarity, (T * 1, T * 6), strict=True))
    assert f"{counts['on']} on events in blue, {counts['off']} off events in red. Darker" in text


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_events_whose_polarity_is_not_known_have_one_ink(planes):
    text = page("a page", [seen(frames(planes))])
    for t, picture in enumerate(decoded(text)):
        expected = np.full((SIDE, SIDE, 3), 255)
        for p in range(planes):
            expected[p, t] = mixed(DARK, (p + 1) / 4)
        expected[5, 5] = DARK
        assert np.abs(picture.astype(int) - expected).max() <= 1
    total = int(frames(planes).sum())
    assert f"Frames 1 to 3 of 6 x 6: {total} events. Darker pixels have more events." in text


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 3)])
def test_features_are_rows_over_time(shape):
    values = np.zeros((4, 6), np.float32)
    values[1, 2], values[3, 5] = -0.5, 2.0
    text = page("a page", [seen(values.reshape(shape), kind="features")])
    (picture,) = decoded(text)
    assert picture.shape == (6, 4, 3)
    assert tuple(picture[5, 3]) == BLUE
    assert np.abs(picture[2, 1].astype(int) - [255 - (255 - ink) / 4 for ink in RED]).max() <= 1
    assert (np.delete(picture.reshape(24, 3), [2 * 4 + 1, 5 * 4 + 3], axis=0) == 255).all()
    assert "6 features by time step, 1 to 4: positive values in blue, negative ones in red." in text
    assert "The largest absolute value is 2." in text


def test_values_below_zero_are_paper():
    inputs = frames(2)
    inputs[:, 0] *= -1
    first, *_ = decoded(page("a page", [seen(inputs, ("off", "on"))]))
    assert (first[0] == 255).all()
    assert (first[5, 5] == BLUE).all()


@pytest.mark.parametrize(
    ("scores", "widths"), [((-0.5, -2.0), []), ((0.0, 0.0), []), ((4.0, 1.0), [100.0, 25.0]), ((4.0, -1.0), [100.0])]
)
def test_scores_are_listed_whatever_their_sign(scores, widths):
    text = page("a page", [seen(frames(2), ("off", "on"), list(zip("ab", scores, strict=True)))])
    assert re.findall(r"<td[^>]*>([^<]+)</td>", text) == [f"{value:.4g}" for value in scores]
    assert [float(width) for width in re.findall(r'class="bar" style="width: ([\d.]+)%"', text)] == widths
