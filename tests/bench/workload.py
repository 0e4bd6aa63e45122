"""W1, the workload of every row: the live stream of ``moq-relay bench``."""

from moq_relay.daemon.load.dialect import MAX_AGE_MS
from moq_relay.daemon.load.workload import (
    AUDIO,
    AUDIO_BYTES,
    AUDIO_FPS,
    BROADCAST,
    GROUP_FRAMES,
    TRACKS,
    VIDEO,
    VIDEO_FPS,
    WARM_SECONDS,
    Workload,
)

__all__ = (
    "AUDIO",
    "AUDIO_BYTES",
    "AUDIO_FPS",
    "BROADCAST",
    "GROUP_FRAMES",
    "MAX_AGE_US",
    "TRACKS",
    "VIDEO",
    "VIDEO_BYTES",
    "VIDEO_FPS",
    "WARM_SECONDS",
)

VIDEO_BYTES = Workload().video_bytes
MAX_AGE_US = MAX_AGE_MS * 1000
