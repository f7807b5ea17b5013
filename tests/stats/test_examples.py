import doctest
import importlib
import pkgutil

import pytest

import sparkds.stats

MODULES = [f"sparkds.stats.{module.name}" for module in pkgutil.iter_modules(sparkds.stats.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
