"""Load for a relay: a publisher and cheap viewers as processes, and what the relay costs then."""
