"""dcc in the tools that people annotate with: CVAT's automatic annotation, Label Studio's backends;
and its service under Ray Serve."""
