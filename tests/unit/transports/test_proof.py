"""The file that knows the inside of aioquic's TLS: what it relies on is really there."""

import ast
import inspect
import types
from pathlib import Path

import pytest
from aioquic import tls

from moq_relay.transports.quic import proof


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for names in proof.PRIVATE.values() for name, kind in names.items()],
)
def test_a_private_name_of_aioquic_that_is_used_is_there(name, kind):
    value = getattr(tls.Context(is_client=True), name)

    if kind is None:
        assert value is None
    elif kind is types.FunctionType:
        assert inspect.ismethod(value)
    else:
        assert type(value) is kind


def test_the_list_of_private_names_is_complete():
    tree = ast.parse(Path(proof.__file__).read_text())
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.FunctionDef)
    }

    listed = {name for names in proof.PRIVATE.values() for name in names}

    assert {name for name in used if hasattr(tls.Context(is_client=True), name)} - listed <= {
        "certificate",
        "certificate_chain",
        "certificate_private_key",
        "__class__",
        "__init__",
    }


@pytest.mark.parametrize("kind", [proof.Serving, proof.Dialling])
def test_a_method_that_is_overridden_still_takes_the_same(kind):
    overridden = [name for name in vars(kind) if name.startswith("_") and name[1] != "_"]
    assert overridden

    for name in overridden:
        assert list(inspect.signature(getattr(kind, name)).parameters) == list(
            inspect.signature(getattr(tls.Context, name)).parameters
        )
