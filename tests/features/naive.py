"""The oracle: features of one entity in one window by loops that anyone can read."""

import math
import statistics
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo


def local_day(event, spec, time="t"):
    return event[time].astimezone(ZoneInfo(spec.time_zone)).date()


def has_value(x):
    return x is not None and not (isinstance(x, float) and not math.isfinite(x))


def window_events(events, spec, as_of, window, where=None):
    """Events of the window as_of - window + 1 … as_of, in time order."""
    first = None if window is None else as_of - timedelta(days=window - 1)
    kept = []
    for event in events:
        day = local_day(event, spec)
        if day > as_of or (first is not None and day < first):
            continue
        if where is not None and not where(event):
            continue
        kept.append(event)
    return kept


def local_time(event, spec):
    return event["t"].astimezone(ZoneInfo(spec.time_zone))


def in_part_of_week(event, share, spec, wheres):
    named = {"weekend": (6, 7), "workdays": (1, 2, 3, 4, 5), None: (1, 2, 3, 4, 5, 6, 7)}
    local = local_time(event, spec)
    if local.isoweekday() not in named.get(share.weekdays, share.weekdays):
        return False
    if share.hours is not None:
        first, end = share.hours
        hours = range(first, end) if first < end else (*range(first, 24), *range(end))
        if local.hour not in hours:
            return False
    return share.only is None or wheres[share.only](event)


def activity(events, column):
    """Number of events, or sum of a column over them."""
    return len(events) if column is None else sum(e[column] for e in events if has_value(e[column]))


def gaps_in_days(events):
    moments = sorted(e["t"] for e in events)
    return [(after - before) / timedelta(days=1) for before, after in pairwise(moments)]


def rhythm(aggregation, events, spec, as_of, window, wheres):
    """Value of a kind of sparkds.features.rhythm."""
    kind = aggregation.kind
    if kind == "inter_event_mean":
        gaps = gaps_in_days(events)
        return statistics.fmean(gaps) if gaps else None
    if kind == "inter_event_sd":
        gaps = gaps_in_days(events)
        return statistics.stdev(gaps) if len(gaps) > 1 else None
    whole = activity(events, aggregation.column)
    if not whole:
        return None
    if kind == "share":
        return float(activity([e for e in events if in_part_of_week(e, aggregation, spec, wheres)], aggregation.column)) / float(whole)
    if kind == "seasonality_ratio":
        period, half = aggregation.period_days, aggregation.half_width
        season = [
            as_of - timedelta(days=lag)
            for lag in range(window)
            if any(abs(lag - j * period) <= half for j in range(window + 2))
        ]  # fmt: skip
        inside = activity([e for e in events if local_day(e, spec) in season], aggregation.column)
        return float(inside) / len(season) / (float(whole) / window)
    if kind == "trend":
        recent = [e for e in events if (as_of - local_day(e, spec)).days < aggregation.short]
        return float(activity(recent, aggregation.column)) / aggregation.short / (float(whole) / window)
    raise AssertionError(kind)


def value(aggregation, events, spec, as_of, window=None, wheres=None):
    """Value of an aggregation over the events of one window."""
    kind = aggregation.kind
    column = getattr(aggregation, "column", None)
    values = [e[column] for e in events if has_value(e[column])] if column else []
    days = sorted({local_day(e, spec) for e in events})
    if kind == "count":
        return len(values) if column else len(events)
    if kind == "sum":
        return sum(values)
    if kind == "sum_of_squares":
        return sum(v * v for v in values)
    if kind == "mean":
        return sum(values) / len(values) if values else None
    if kind == "min":
        return min(values, default=None)
    if kind == "max":
        return max(values, default=None)
    if kind == "std":
        if len(values) < 2:
            return None
        mean = float(sum(values)) / len(values)
        return math.sqrt(sum((float(v) - mean) ** 2 for v in values) / (len(values) - 1))
    if kind in ("distinct", "approx_distinct"):
        return len(set(values))
    if kind in ("first", "last"):
        pick = min if kind == "first" else max
        tie = aggregation.tie
        known = [e for e in events if has_value(e[column])]
        return pick(known, key=lambda e: (e["t"], e[tie] if tie else 0, e[column]))[column] if known else None
    if kind == "active_days":
        return len(days)
    if kind == "days_since_last":
        return (as_of - days[-1]).days if days else None
    if kind == "days_since_first":
        return (as_of - days[0]).days if days else None
    if kind == "top_category":
        counts = Counter(values)
        return min(counts, key=lambda c: (-counts[c], c)) if counts else None
    if kind == "quantile":
        return sorted(values)[math.floor(aggregation.q * (len(values) - 1))] if values else None
    return rhythm(aggregation, events, spec, as_of, window, wheres)


def snapshots(spec, events, days, wheres):
    """Rows {(key…, as_of): {feature: value}} for every entity and day at or after its first event."""
    by_entity = {}
    for event in events:
        by_entity.setdefault(tuple(event[k] for k in spec.keys), []).append(event)
    rows = {}
    for key, own in by_entity.items():
        if any(k is None for k in key):
            continue
        first = min(local_day(e, spec) for e in own)
        for as_of in days:
            if as_of < first:
                continue
            rows[(*key, as_of)] = {
                f.name: value(
                    f.aggregation, window_events(own, spec, as_of, f.window, wheres.get(f.aggregation.where)), spec, as_of, f.window, wheres
                )
                for f in spec.features
            }
    return rows
