import dataclasses
import json

import numpy as np
import pytest

from tcja_runtime.frames import InputContract, draw

FRAMES = InputContract.frames(3, 4, 5)
IMAGES = InputContract.images(1, 4, 4)


@pytest.mark.parametrize("contract", [FRAMES, IMAGES, InputContract.images(3, 8, 8)])
def test_drawn_windows_meet_the_contract_and_repeat(contract):
    samples = draw(contract, 3, seed=1)
    assert samples.inputs.shape == (3, *contract.shape)
    assert samples.inputs.dtype == np.float32
    assert samples.inputs.any(axis=tuple(range(1, samples.inputs.ndim))).all()
    assert not samples.real
    np.testing.assert_array_equal(samples.inputs, draw(contract, 3, seed=1).inputs)
    if contract.scaling == "counts":
        np.testing.assert_array_equal(samples.inputs, samples.inputs.round())
    else:
        assert samples.inputs.min() >= 0
        assert samples.inputs.max() <= 1


@pytest.mark.parametrize("contract", [FRAMES, IMAGES])
def test_contract_json_round_trip(contract):
    assert InputContract.from_dict(json.loads(json.dumps(dataclasses.asdict(contract)))) == contract
