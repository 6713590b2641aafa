import pytest

from tcja_exporters.checkpoint import keys


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a.w", "b.w"], [""]),
        (["model.a.w", "model.b.w", "criterion.w"], ["model."]),
        (["ema_model.a.w", "ema_model.b.w", "model.a.w", "model.b.w"], ["model.", "ema_model."]),
        (["x.y.a.w", "x.y.b.w"], ["x.y."]),
        (["x.a.w", "y.a.w", "y.b.w"], ["y."]),
        (["module." * 3000 + "a.w"], [""]),
    ],
)
def test_prefixes_are_found_the_likeliest_first(given, expected):
    assert keys.prefixes(given, ["a.w", "b.w"]) == expected


def test_nothing_tells_two_prefixes_apart():
    assert keys.alike("left.", "right.")
    assert not keys.alike("model.", "right.")
    assert not keys.alike("left.", "ema_left.")
    assert not keys.alike("", "left.")


def test_wrappers_of_torch_are_removed_anywhere():
    assert keys.unwrapped({"_orig_mod.a._fsdp_wrapped_module.b.weight": 1}) == {"a.b.weight": 1}
    assert keys.common_prefix(["module.net.a.w", "module.net.b"]) == "module.net."
    assert keys.common_prefix(["module", "module.a"]) == ""


def test_a_list_of_keys_counts_those_that_begin_alike():
    assert keys.few(["a", "criterion.w", "criterion.b"]) == "a, criterion.* (2 keys)"
    assert keys.few([f"k{i}" for i in range(9)]) == "k0, k1, k2, k3, k4, k5 and 3 more"
