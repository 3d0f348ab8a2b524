import fuzz_loading
import pytest


@pytest.mark.parametrize("kind", fuzz_loading.KINDS)
def test_damaged_weights_and_configs_are_loaded_or_refused_in_one_error(kind):
    figures = fuzz_loading.run(kind, 60, seed=1)
    assert figures.get("read", 0) + figures["refused"] == 60
