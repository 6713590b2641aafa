"""The messages between a command and the process that uses Ray."""

from __future__ import annotations

import io

import pytest

from tcja_deploy.cluster.driver import Answer, Task, receive, send
from tcja_runtime.errors import Damaged


def test_messages_come_whole_and_in_order():
    stream = io.BytesIO()
    sent = [Task(number=1, job=b"x" * 100_000, device="cpu"), Answer(task=1, workers=2), Answer(task=1, chunk=b"y")]
    for each in sent:
        send(stream, each)
    whole = stream.getvalue()
    stream.seek(0)
    assert [receive(stream) for _ in sent] == sent
    assert receive(stream) is None
    for cut in (3, 100, len(whole) - 1):
        cut_off = io.BytesIO(whole[:cut])
        while (found := receive(cut_off)) is not None:
            assert found in sent


def test_an_error_of_a_worker_is_the_same_here(tmp_path):
    stream = io.BytesIO()
    send(stream, Answer(error=Damaged(12, "is wrong").of(tmp_path / "a.bin")))
    stream.seek(0)
    with pytest.raises(Damaged) as caught:
        raise receive(stream).error
    assert str(caught.value) == f"{tmp_path / 'a.bin'}: byte 12: is wrong"
    assert (caught.value.offset, caught.value.what) == (12, "is wrong")
