"""Each neuron class of the three libraries is in the documents, and what they say of it is so."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from torch import nn

from tcja_exporters import libraries
from tcja_runtime.errors import BadInput

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "neurons.md").read_text()
SECTIONS = {
    title: {
        name: row[1].strip()
        for row in re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row[0])
    }
    for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])
}
MODULES = {
    "SpikingJelly": ("spikingjelly.activation_based.neuron", "spikingjelly.clock_driven.neuron"),
    "snnTorch": ("snntorch._neurons",),
    "norse": ("norse.torch",),
}


def classes(title: str) -> dict[str, type[nn.Module]]:
    """The neuron classes of a library, by the name that they have in the documents."""
    found = {}
    for path in MODULES[title]:
        try:
            module = importlib.import_module(path)
        except ImportError:  # SpikingJelly 2 has no clock_driven
            continue
        for name, value in vars(module).items():
            neuron = inspect.isclass(value) and issubclass(value, nn.Module)
            if title == "norse":
                neuron = neuron and any(kind.__name__.startswith("SNN") for kind in value.__mro__)
            if neuron and value.__module__.startswith(path.partition(".")[0]):
                found[name.removeprefix("MultiStep")] = value
    return found


@pytest.mark.parametrize("title", MODULES)
def test_every_class_of_the_library_is_in_the_documents(title):
    rows, missing = SECTIONS[title], []
    for name in classes(title):
        family = name.removesuffix("Cell")
        if "Recurrent" not in name and name not in rows and family not in rows:
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("title", MODULES)
def test_a_class_is_refused_with_the_reason_in_the_documents(title):
    """The class is enough: an instance without attributes is refused before one of them is read."""
    rows = SECTIONS[title]
    refused = 0
    for name, kind in classes(title).items():
        said = rows.get(name) or rows.get(name.removesuffix("Cell")) or "refused: its spikes are fed back to its own"
        if not said.startswith("refused: ") or said.endswith("not known yet"):
            continue
        node = kind.__new__(kind)
        nn.Module.__init__(node)
        with pytest.raises(BadInput, match=re.escape(said.removeprefix("refused: "))):
            libraries.recognise("node", node)
        refused += 1
    assert refused > 4
