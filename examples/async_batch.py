"""Match one picture with many from asyncio. A matcher is thread-safe and releases the interpreter's lock.

python async_batch.py REFERENCE PICTURE...
"""

import asyncio
import sys

from dccnet import DccError, Matcher, read_image

AT_ONCE = 2


async def main(reference: str, *paths: str) -> None:
    places = asyncio.Semaphore(AT_ONCE)  # pictures that are decoded and matched at the same time
    with Matcher.open(threads=1) as matcher:
        features = await asyncio.to_thread(lambda: matcher.encode(read_image(reference)))

        async def matches(path: str) -> str:
            async with places:
                try:
                    result = await asyncio.to_thread(lambda: matcher.match(features, read_image(path)))
                except DccError as error:  # one sentence, such as that the file is damaged
                    return str(error)
            return f"{path}: {len(result.mutual())} mutual matches"

        for done in asyncio.as_completed([matches(path) for path in paths]):
            print(await done)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
