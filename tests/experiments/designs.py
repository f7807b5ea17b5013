"""A small declared design, for the tests of declaration, plan, history and job."""

from sparkds.experiments.design import Design

DESIGN = {
    "name": "button",
    "hypothesis": "a green button makes more visitors buy",
    "time_zone": "Europe/Berlin",
    "exposures": {"table": "exposures"},
    "facts": [{"name": "orders", "table": "orders"}, {"name": "visits", "table": "visits"}],
    "metrics": [{"kind": "proportion", "name": "bought", "fact": "orders", "role": "primary"}],
    "baselines": {"bought": {"kind": "proportion", "share": 0.05}},
    "arms": {"control": 0.5, "green": 0.5},
    "control": "control",
    "start": "2026-06-01T00:00:00+02:00",
    "claim": {"kind": "superiority", "mde": {"relative": 0.1}},
    "alpha": 0.05,
    "power": 0.8,
    "sides": "two",
    "correction": "none",
    "looks": {"kind": "fixed"},
    "traffic_per_day": 5_000,
}
REVENUE = {"kind": "sum", "name": "revenue", "fact": "orders", "column": "amount", "role": "guardrail", "margin": 0.02}
PER_VISIT = {
    "kind": "ratio_of_means",
    "name": "per_visit",
    "numerator": {"kind": "sum", "fact": "orders", "column": "amount"},
    "denominator": {"kind": "count", "fact": "visits"},
    "role": "primary",
}


def design(**changes):
    return Design.model_validate({**DESIGN, **changes})


def of_mean(std, mean=20.0, metric=None, **changes):
    """Design whose primary metric is revenue."""
    primary = {**REVENUE, "role": "primary", "margin": None, **(metric or {})}
    told = {"kind": "mean", "mean": mean, "std": std, **changes.pop("baseline", {})}
    return design(metrics=[primary], baselines={"revenue": told}, **changes)
