"""W1, the workload of every row: one publisher, 2 Mb/s of video and 50 audio groups a second."""

BROADCAST = "live"
VIDEO, AUDIO = "video", "audio"
TRACKS = (VIDEO, AUDIO)
VIDEO_FPS = 30
VIDEO_BYTES = 8333
GROUP_FRAMES = 30
AUDIO_FPS = 50
AUDIO_BYTES = 160
MAX_AGE_US = 30_000_000
"""Nothing expires by age in the bench: what a relay can't deliver counts against it."""
WARM_SECONDS = 1.5
"""From the last viewer's subscription to the window: more than one video group."""
