"""dcc in other tools: CVAT's automatic annotation, Label Studio's backends; lists of pairs and the service
on Ray."""
