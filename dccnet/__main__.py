"""``python -m dccnet`` is ``dcc``, also in a checkout that is not installed."""

from dccnet.cli import main

if __name__ == "__main__":
    main()
