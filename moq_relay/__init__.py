"""moq_relay: a clustered Media-over-QUIC relay."""

__version__ = "0.1.0"
