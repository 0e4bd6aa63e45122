"""Every test of the model is held to the contracts that its fakes keep."""

from collections.abc import Iterator

import pytest

from tests.unit.relay.fakes import FAULTS


@pytest.fixture(autouse=True)
def no_contract_is_broken() -> Iterator[None]:
    FAULTS.clear()
    yield
    assert FAULTS == []
