"""`tcja_runtime.streaming.options`: what is no option is refused by its name."""

import pytest

from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.streaming.options import StreamOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer": 0}, "`buffer` 0 must be 1 to 268,435,456"),
        ({"buffer": 1.5}, "`buffer` is 1.5, and must be a whole number"),
        ({"seconds": -1}, "`seconds` -1 must be above 0"),
        ({"seconds": 0}, "`seconds` 0 must be above 0"),
        ({"seconds": float("nan")}, "`seconds` is NaN, and must be a finite number"),
        ({"windows": 0}, "`windows` 0 must be at least 1"),
        ({"max_rate": 0}, "`max_rate` 0 must be at least 1"),
        ({"window": "500ms"}, '`window` is "500ms", and must be a Window'),
        ({"backend": None}, "`backend` is None, and must be text"),
        ({"lossless": "yes"}, '`lossless` is "yes", and must be true or false'),
    ],
)
def test_what_is_no_option_is_refused_by_its_name(options, message):
    with pytest.raises(BadInput, match=f"^{message}"):
        StreamOptions(**options)


def test_what_is_an_option_is_kept():
    made = StreamOptions(window=Window(200_000), seconds=2, windows=3, lossless=False)
    assert (made.window, made.seconds, made.windows, made.lossless) == (Window(200_000), 2, 3, False)
