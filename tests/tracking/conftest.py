"""Trackers write into a folder of the test session: trackio reads its place when it is first imported."""

import atexit
import os
import shutil
import tempfile

FOLDER = tempfile.mkdtemp(prefix="trackio-")
os.environ["TRACKIO_DIR"] = FOLDER
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
