"""Definitions: what every column of a feature table is defined by, and what a changed declaration changes of it.

Takes two declarations and says whether the new one is the same, only adds columns, or defines a column otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sparkds.features.feature_set import TILE_FIELDS, Feature, FeatureSet


class Change(NamedTuple):
    """What a declaration changes of an earlier one.

    Attributes
    ----------
    kind : {"same", "extension", "changed"}
        ``extension``: every column of the earlier one is there with the same definition, and there are others.
    added, redefined, dropped : tuple of str
        Columns, in the order of the declaration that has them.
    """

    kind: Literal["same", "extension", "changed"]
    added: tuple[str, ...] = ()
    redefined: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def column_definitions(spec: FeatureSet) -> dict[str, str]:
    """Hash of what each feature column depends on: 16 hexadecimal digits by column.

    Two columns with the same hash have the same values from the same events: keys, time and zone, refund rule, deduplication, aggregation
    with its predicate, and window are in it; names, other columns and the order of columns are not.

    Examples
    --------
    >>> from sparkds.features import Count, FeatureSet
    >>> spec = FeatureSet(keys=("k",), event_time="t", time_zone="UTC", windows=(7,), aggregations=(Count(),))
    >>> list(column_definitions(spec))
    ['event_count_7d']
    """
    ground = spec.model_dump(mode="json", include=set(TILE_FIELDS))
    told = {feature.name: _digest({"ground": ground, **_facts(feature)}) for feature in spec.computed}
    if spec.rfm is not None:
        rfm = _digest({"ground": ground, "rfm": spec.rfm.model_dump(mode="json")})
        told |= {name: rfm for name in spec.rfm_columns if name not in told}
    return told


def change(before: FeatureSet, now: FeatureSet) -> Change:
    """What `now` changes of `before`.

    Examples
    --------
    >>> from sparkds.features import Count, FeatureSet
    >>> one = FeatureSet(keys=("k",), event_time="t", time_zone="UTC", windows=(7,), aggregations=(Count(),))
    >>> change(one, one.model_copy(update={"windows": (7, 30)}))
    Change(kind='extension', added=('event_count_30d',), redefined=(), dropped=())
    """
    old, new = column_definitions(before), column_definitions(now)
    added = tuple(name for name in new if name not in old)
    redefined = tuple(name for name in new if name in old and new[name] != old[name])
    dropped = tuple(name for name in old if name not in new)
    if redefined or dropped:
        return Change("changed", added, redefined, dropped)
    return Change("extension" if added else "same", added)


def with_only(spec: FeatureSet, columns: tuple[str, ...]) -> FeatureSet:
    """The smallest declaration that has `columns`; with a refund rule `apart` it may have the refund columns beside them.

    Raises
    ------
    ValueError
        No aggregation of `spec` gives one of the columns.
    """
    wanted = set(columns)
    kept = []
    for aggregation in spec.aggregations:
        windows = spec.windows if aggregation.windows is None else aggregation.windows
        lifetime = spec.lifetime if aggregation.lifetime is None else aggregation.lifetime
        days = tuple(w for w in windows if f"{aggregation.stem}_{w}d" in wanted)
        whole = lifetime and f"{aggregation.stem}_lifetime" in wanted
        if days or whole:
            kept.append(aggregation.model_copy(update={"name": aggregation.stem, "windows": days, "lifetime": whole}))
    rfm = spec.rfm if wanted.intersection(spec.rfm_columns) else None
    return spec.model_copy(update={"aggregations": tuple(kept), "rfm": rfm})


def _facts(feature: Feature) -> Mapping[str, Any]:
    told = feature.aggregation.model_dump(mode="json", exclude={"name", "windows", "lifetime"})
    return {"aggregation": told, "window": feature.window}


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
