"""Video and cameras: streams of frames, what is carried along them, and what is written."""
