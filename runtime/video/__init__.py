"""Videos and cameras: matching every frame, and writing the results.

``sources`` opens a video, ``stream`` matches its frames with ``references`` in the ``stages`` of a
``pipeline`` of threads, ``propagation`` carries points, masks and boxes to each frame, ``drawing`` draws a
frame's result, and ``outputs`` writes results to files.
"""
