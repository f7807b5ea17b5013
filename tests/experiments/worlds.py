"""Small random worlds of exposures and facts, and the naive value of every metric of every unit, by loops anyone can read."""

import random
from datetime import UTC, datetime, timedelta

from sparkds.experiments.experiment import ExperimentSet

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

SPEC = {
    "time_zone": "Europe/Berlin",
    "exposures": {"table": "exposures"},
    "facts": [{"name": "orders", "table": "orders"}, {"name": "views", "table": "views"}],
    "metrics": [
        {"kind": "count", "name": "n_orders", "fact": "orders", "window": {"days": 3}, "role": "primary"},
        {"kind": "sum", "name": "revenue", "fact": "orders", "column": "amount", "covariates": [{"kind": "pre_period", "days": 5}]},
        {"kind": "sum", "name": "capped", "fact": "orders", "column": "amount", "cap": {"kind": "absolute", "upper": 12.5}},
        {"kind": "sum", "name": "top_capped", "fact": "orders", "column": "amount", "cap": {"kind": "percentile", "share": 0.8}},
        {"kind": "mean", "name": "basket", "fact": "orders", "column": "amount", "window": {"delay_days": 0.5, "days": 4}},
        {"kind": "sum", "name": "score", "fact": "views", "column": "score", "where": "page <> 'x'",
         "covariates": [{"kind": "attribute", "column": "age"}]},
        {"kind": "proportion", "name": "bought", "fact": "orders", "where": "amount > 5", "window": {"days": 2}, "complete_only": True},
        {"kind": "distinct", "name": "pages", "fact": "views", "column": "page"},
        {"kind": "retention", "name": "back", "fact": "views", "first_day": 1, "last_day": 2},
        {"kind": "funnel", "name": "path", "fact": "views", "steps": ["page = 'a'", "page = 'b'"]},
        {"kind": "ratio_of_means", "name": "per_view", "numerator": {"kind": "sum", "fact": "orders", "column": "amount"},
         "denominator": {"kind": "count", "fact": "views"}, "covariates": [{"kind": "pre_period", "days": 4}]},
        {"kind": "event_quantile", "name": "typical_order", "fact": "orders", "column": "amount", "where": "amount <> 0", "share": 0.5},
        {"kind": "quantile", "name": "median_revenue", "of": {"kind": "sum", "fact": "orders", "column": "amount"}, "share": 0.5},
    ],
    "experiments": [
        {"name": "one", "arms": {"a": 0.5, "b": 0.5}, "control": "a", "start": START, "end": START + timedelta(days=12), "alpha": 0.05,
         "correction": "none", "peeking": {"kind": "fixed"}, "segments": ["country"], "novelty_days": 2},
        {"name": "two", "arms": {"c": 0.4, "t1": 0.3, "t2": 0.3}, "control": "c", "start": START + timedelta(days=2), "alpha": 0.05,
         "correction": "holm", "peeking": {"kind": "fixed"}, "crossover": "first", "segments": ["country", "device"], "top_segments": 2,
         "metrics": ["n_orders", "revenue", "bought", "per_view"],
         "phases": [{"start": START + timedelta(days=6), "weights": {"c": 0.2, "t1": 0.4, "t2": 0.4}}]},
        {"name": "three", "arms": {"a": 0.5, "b": 0.5}, "control": "a", "start": START, "alpha": 0.05, "correction": "none",
         "peeking": {"kind": "fixed"}, "trigger": {"fact": "views", "where": "page = 'a'"}, "metrics": ["n_orders", "revenue"]},
    ],
}  # fmt: skip


def spec(**changes):
    return ExperimentSet.model_validate({**SPEC, **changes})


def world(seed, n_units=40):
    """Exposures, orders and views as lists of tuples; some exposures outside, some units in two arms, some times equal."""
    rng = random.Random(seed)
    exposures, orders, views = [], [], []
    for unit in range(n_units):
        name = f"u{unit}"
        device = rng.choice(["phone", "desk", None])
        for experiment in SPEC["experiments"]:
            if rng.random() < 0.3:
                continue
            arm = rng.choice(list(experiment["arms"]))
            for _ in range(rng.randrange(1, 4)):
                at = START + rng.randrange(-24, 24 * 14) * HOUR
                seen = rng.choice(list(experiment["arms"])) if rng.random() < 0.1 else arm
                exposures.append((experiment["name"], name, seen, at, rng.choice("DFI"), device, rng.choice([None, 20.0, 35.5])))
        for _ in range(rng.randrange(0, 12)):
            at = START + rng.randrange(-24 * 8, 24 * 16) * HOUR
            orders.append((name, at, rng.choice([None, 0.0, 2.5, 7.25, 19.99, -3.0])))
        for _ in range(rng.randrange(0, 15)):
            views.append((name, START + rng.randrange(-24 * 6, 24 * 16) * HOUR, rng.choice(["a", "b", "x", None]), rng.random()))
    exposures.append(("undeclared", "u1", "a", START, "D", None, None))
    orders.append((None, START + HOUR, 5.0))
    rng.shuffle(exposures)
    rng.shuffle(orders)
    return exposures, orders, views


def frames(spark, given):
    exposures, orders, views = given
    return (
        spark.createDataFrame(exposures, "experiment string, unit string, arm string, time timestamp, country string, device string, age double"),
        {
            "orders": spark.createDataFrame(orders, "unit string, time timestamp, amount double"),
            "views": spark.createDataFrame(views, "unit string, time timestamp, page string, score double"),
        },
    )  # fmt: skip


def first_seen(given, declared, end_of_day):
    """unit -> (time, arm, number of arms, exposure row) of one experiment."""
    mine = {}
    for row in given[0]:
        experiment, unit, arm, at = row[:4]
        end = declared.end or datetime.max.replace(tzinfo=UTC)
        if experiment == declared.name and declared.start <= at < end and at < end_of_day:
            mine.setdefault(unit, []).append((at, list(declared.arms).index(arm), row))
    found = {}
    for unit, seen in mine.items():
        at, _, row = min(seen, key=lambda s: (s[0], s[1]))
        found[unit] = (at, row[2], len({s[1] for s in seen}), row)
    return found


def anchored(given, declared, unit, at, end_of_day):
    """Instant from which a unit's facts count; None when the trigger was not met."""
    if declared.trigger is None:
        return at
    end = min(declared.end or end_of_day, end_of_day)
    met = [t for u, t, page, _ in given[2] if u == unit and at <= t < end and page == "a"]
    return min(met, default=None)


def facts_between(rows, unit, low, high):
    return [row for row in rows if row[0] == unit and low <= row[1] < high]


def values_of(given, metric, unit, low, high):
    """Values of a unit and whether there is an observation, by metric name."""
    orders, views = facts_between(given[1], unit, low, high), facts_between(given[2], unit, low, high)
    amounts = [r[2] for r in orders if r[2] is not None]
    name = metric.name
    if name == "n_orders":
        return [len(orders)], bool(orders)
    if name in ("revenue", "capped", "top_capped", "median_revenue"):
        return [sum(amounts)], bool(amounts)
    if name == "typical_order":
        kept = [a for a in amounts if a != 0]
        return [len(kept)], bool(kept)
    if name == "basket":
        return [sum(amounts) / len(amounts) if amounts else 0.0], bool(amounts)
    if name == "score":
        kept = [r[3] for r in views if r[2] is not None and r[2] != "x"]
        return [sum(kept)], bool(kept)
    if name == "bought":
        kept = [a for a in amounts if a > 5]
        return [float(bool(kept))], bool(kept)
    if name == "pages":
        kept = {r[2] for r in views if r[2] is not None}
        return [len(kept)], bool(kept)
    if name == "back":
        return [float(bool(views))], bool(views)
    if name == "path":
        first = [r[1] for r in views if r[2] == "a"]
        done = bool(first) and any(r[2] == "b" and r[1] >= min(first) for r in views)
        return [float(done)], bool(first)
    assert name == "per_view"
    return [sum(amounts), len(views)], bool(amounts) and bool(views)
