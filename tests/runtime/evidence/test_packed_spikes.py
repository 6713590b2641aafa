import numpy as np
import pytest

from tcja_runtime.evidence.packed_spikes import PackedSpikes


@pytest.mark.parametrize("shape", [(1,), (13,), (3, 5, 7)])
def test_spikes_are_packed_in_bits_and_unpacked_by_windows(shape):
    spikes = np.random.default_rng(0).random((4, 6, *shape)) < 0.3
    packed = PackedSpikes.pack(spikes)
    assert packed.shape == (4, *shape)
    assert packed.rows.shape == (6, -(-4 * int(np.prod(shape)) // 8))
    np.testing.assert_array_equal(packed.unpack(slice(None)), spikes)
    np.testing.assert_array_equal(packed.unpack(slice(2, 5)), spikes[:, 2:5])
    np.testing.assert_array_equal(packed.counts, spikes.reshape(4, 6, -1).sum(2).T)
