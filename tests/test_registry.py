from importlib.metadata import EntryPoint

import pytest

from hpsbench import registry
from hpsbench.errors import HpsbenchError, UnknownNameError
from hpsbench.registry import load_plugin, plugin_names


def test_the_built_in_names_are_there_and_load():
    assert {"mean-pose", "hybrik", "niki"} <= set(plugin_names("model"))
    for kind in ("model", "dataset", "occluder"):
        for name in plugin_names(kind):
            assert load_plugin(kind, name).__name__


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match=r"No model named 'niky'\. Did you mean 'niki'\? Known: .*mean-pose"):
        load_plugin("model", "niky")


def test_a_plug_in_that_cannot_be_imported_is_named(monkeypatch):
    broken = EntryPoint("broken", "no_such_module:Model", "hpsbench.models")
    monkeypatch.setattr(registry, "_points", lambda kind: {"broken": broken})
    with pytest.raises(HpsbenchError, match=r"'broken' is registered as 'no_such_module:Model', but that cannot be imported"):
        load_plugin("model", "broken")
