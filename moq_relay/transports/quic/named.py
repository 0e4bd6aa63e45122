"""aioquic's connection with ids that the kernel can sort by.

Like engine.py it touches private names of aioquic, and lists them in `PRIVATE`.
"""

from typing import Any

from aioquic.quic.connection import QuicConnection

from moq_relay.transports.quic.connection_ids import ID_BYTES, new_id

_FRAME_TABLE = "_QuicConnection__frame_handlers"


class NamedConnection(QuicConnection):
    """A connection whose own ids are all `connection_ids.is_ours`."""

    def __init__(self, **options: Any) -> None:
        """Take what aioquic takes; the configuration has the length of the ids from now on."""
        options["configuration"].connection_id_length = ID_BYTES
        super().__init__(**options)
        name = new_id()
        self._host_cids[0].cid = name
        self.host_cid = self._local_initial_source_connection_id = name

    def _replenish_connection_ids(self) -> None:
        before = len(self._host_cids)
        super()._replenish_connection_ids()
        for one in self._host_cids[before:]:
            one.cid = new_id()

    def forget(self) -> None:
        """Let go of what no ended connection needs: half of its objects, which refer to it.

        They would wait for the collector of circles, which holds up everybody while it looks.
        """
        getattr(self, _FRAME_TABLE).clear()
        self._cryptos.clear()
        self._cryptos_initial.clear()
        self._crypto_streams.clear()
        self._crypto_buffers.clear()


PRIVATE: dict[type, dict[str, type | None]] = {
    QuicConnection: {
        _FRAME_TABLE: dict,
        "_crypto_buffers": dict,
        "_crypto_streams": dict,
        "_cryptos": dict,
        "_cryptos_initial": dict,
        "_host_cids": list,
        "_local_initial_source_connection_id": bytes,
        "_replenish_connection_ids": type(lambda: None),
        "host_cid": bytes,
    },
}
"""Every name used above that aioquic does not document, as engine.py lists its own."""
