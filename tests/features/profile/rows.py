"""Rows with columns of every kind, as Python values and as a frame."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

SCHEMA = (
    "at timestamp, id bigint, `a.b` double, `größe (cm)` int, cents decimal(10,2), wide decimal(18,1), long decimal(30,4), flag boolean, `city``name` string, "
    "raw binary, born date, local timestamp_ntz, tags array<int>, nothing string, one int"
)
FIRST = datetime(2026, 3, 27, 20, tzinfo=UTC)  # local days of Berlin: 27 to 31 March, over the change of the clock


def rows(n=600, seed=3):
    rng = random.Random(seed)

    def maybe(value, share=0.1):
        return None if rng.random() < share else value

    found = []
    for i in range(n):
        x = float("nan") if rng.random() < 0.05 else float("inf") if rng.random() < 0.02 else round(rng.gauss(1, 10), 3)
        city = rng.choice(["Köln", "Rom", "Rom", "Rom", "Łódź", ""])
        found.append(
            (
                maybe(FIRST + timedelta(minutes=rng.randrange(60 * 96)), 0.03),
                i,
                maybe(x),
                maybe(rng.randrange(150, 200)),
                maybe(Decimal(rng.randrange(-500, 90_000)).scaleb(-2)),
                maybe(Decimal(rng.randrange(-(10**18) + 1, 10**18)).scaleb(-1)),
                maybe(Decimal(rng.randrange(10**25)).scaleb(-4)),
                maybe(rng.random() < 0.3),
                maybe(city),
                maybe(bytes([rng.randrange(4)]) * rng.randrange(3)),
                maybe(date(1990, 1, 1) + timedelta(days=rng.randrange(9000))),
                maybe(datetime(2026, 3, 1, 12) + timedelta(seconds=rng.randrange(10**6))),
                maybe([1, 2]),
                None,
                7,
            )
        )
    return found
