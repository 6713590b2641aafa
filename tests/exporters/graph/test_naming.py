from ... import networks


def test_names_are_those_of_pytorchs_modules(name, exports):
    modules = {module for module, _ in networks.SMALL[name].module().named_modules()}
    for model in (exports[name][0].model, exports[name][0].plain):
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)
        assert {node.rpartition("/")[0] for node in names} <= modules
