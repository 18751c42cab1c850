"""The matches of two pictures as a table of pandas, the confident ones first.

python choose_confident.py A B [LEAST]
"""

import sys

from dccnet import Matcher


def main(a: str, b: str, least: str = "0.7") -> None:
    with Matcher.open() as matcher:
        result = matcher.match(a, b).at_least(float(least))
    table = result.mutual().to_dataframe().sort_values("confidence", ascending=False)
    print(table.head(10).to_string(index=False))
    print(f"{len(table)} mutual matches have a confidence of at least {least}")


if __name__ == "__main__":
    main(*sys.argv[1:])
