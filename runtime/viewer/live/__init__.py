"""A page that matches pictures in the browser: ``dcc view --live``."""
