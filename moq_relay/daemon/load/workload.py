"""A live stream, as every viewer watches it: video in groups of a second, and audio."""

from dataclasses import dataclass

BROADCAST = "live"
VIDEO, AUDIO = "video", "audio"
TRACKS = (VIDEO, AUDIO)
VIDEO_FPS = 30
GROUP_FRAMES = 30
AUDIO_FPS = 50
"""An audio frame is a group of its own."""
AUDIO_BYTES = 160
VIDEO_MBITS = 2.0
WARM_SECONDS = 1.5
"""From the last viewer's subscription to a window: more than one video group."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is published."""

    video_mbits: float = VIDEO_MBITS
    """10^6 bits of video a second."""

    @property
    def video_bytes(self) -> int:
        """Of a video frame."""
        return round(self.video_mbits * 1e6 / 8 / VIDEO_FPS)

    def __str__(self) -> str:
        return (
            f"{self.video_mbits:g} Mb/s of video, {VIDEO_FPS} frames a second in groups of "
            f"{GROUP_FRAMES}, and {AUDIO_FPS} audio groups of {AUDIO_BYTES} bytes a second"
        )
