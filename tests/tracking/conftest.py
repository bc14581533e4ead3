"""Trackers write into a folder of the test session: trackio reads its place when it is first imported."""

import os
import tempfile

os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="trackio-")
