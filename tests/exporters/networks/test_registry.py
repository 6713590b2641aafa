"""Networks that an installed package adds (tests/extension_package), beside those of tcja-deploy."""

import sys

import pytest

from tcja_exporters import networks
from tcja_runtime.errors import BadInput, Unavailable

GROUP = "tcja_deploy.networks"


def test_a_network_of_an_extension_is_imported_by_its_name_or_when_all_are_compared(install):
    install()
    assert networks.named("dvs128") is networks.NETWORKS["dvs128"]
    assert networks.extension_of("dvs128") is None
    assert "blink.network" not in sys.modules
    assert networks.named("blink_net").summary == "two layers of Blink's neurons"
    found, lines = networks.all_networks()
    assert ([each.name for each in found], lines) == ([*networks.NETWORKS, "blink_net"], [])
    with pytest.raises(BadInput, match=r"blnk_net.*blink_net"):
        networks.named("blnk_net")


@pytest.mark.parametrize(
    ("name", "place", "error", "said"),
    [
        pytest.param("blink_net", "blink.network:NONE", Unavailable, "does not load: AttributeError: ", id="missing"),
        pytest.param(
            "other", "blink.network:NETWORK", Unavailable, "is the network blink_net, and must have", id="name"
        ),
        pytest.param(
            "blink_net", "blink.network:BLINK", Unavailable, "is a Dialect, and must be a Network", id="object"
        ),
        pytest.param("dvs128", "blink.network:NETWORK", None, "which tcja-deploy has itself; uninstall it", id="ours"),
    ],
)
def test_one_that_cannot_be_used_is_left_out_with_a_line(install, name, place, error, said):
    install({GROUP: {name: place}})
    found, (line,) = networks.all_networks()
    assert [each.name for each in found] == [*networks.NETWORKS]
    assert line.startswith(f"not compared with the network {name} of an extension: the extension blink 0.3 ")
    assert said in line
    if error is None:
        assert networks.named(name) is networks.NETWORKS[name]
        return
    with pytest.raises(error) as raised:
        networks.named(name)
    assert said in str(raised.value)
