import json
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np

from sparkds.errors import WindowError
from sparkds.jobs.status import JobResult, TableResult, as_json, completed, failed

STARTED = datetime(2026, 6, 30, 12, tzinfo=UTC)


def test_the_line_is_strict_json_whatever_a_job_tells():
    told = {
        "nan": float("nan"),
        "infinite": [float("inf"), np.float64("nan")],
        "counted": np.int64(3),
        "share": np.float64(0.5),
        "true": np.bool_(True),
        "day": date(2026, 6, 30),
        "instant": STARTED,
        "money": Decimal("1.50"),
        "days": {date(2026, 1, 2), date(2026, 1, 1)},
        "pair": (1, "ä"),
        date(2026, 1, 1): None,
        7: TableResult("t", 1, 2),
    }
    line = as_json(told)
    assert "\n" not in line
    assert json.loads(line, parse_constant=lambda name: f"not strict: {name}") == {
        "nan": None,
        "infinite": [None, None],
        "counted": 3,
        "share": 0.5,
        "true": True,
        "day": "2026-06-30",
        "instant": "2026-06-30T12:00:00+00:00",
        "money": "1.50",
        "days": ["2026-01-01", "2026-01-02"],
        "pair": [1, "ä"],
        "2026-01-01": None,
        "7": ["t", 1, 2],
    }


def test_a_section_cannot_replace_what_every_status_has():
    result = JobResult(3, [TableResult("t", 1, 2)], sections={"status": "?", "error": "?", "tables": "?", "input": {"n": 3}})
    told = completed("job", STARTED, result)
    assert told["status"] == "completed"
    assert told["tables"] == [{"name": "t", "version": 1, "rows": 2}]
    assert told["input"] == {"n": 3}
    assert "error" not in told


def test_a_failed_status_has_the_keys_of_a_completed_one_and_the_error():
    told = failed("job", STARTED, WindowError("no such day"))
    assert set(told) == {*completed("job", STARTED, JobResult(0, [])), "error"}
    assert told["error"] == {"type": "WindowError", "message": "no such day"}
    assert told["start_time"] == "2026-06-30T12:00:00.000+00:00"


def test_an_error_without_a_message_is_told_by_its_type():
    assert failed("job", STARTED, KeyboardInterrupt())["error"] == {"type": "KeyboardInterrupt", "message": "KeyboardInterrupt"}
