from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from sparkds import config
from sparkds.declaration import Declaration
from sparkds.errors import ConfigError

ROOT = Path(__file__).parent.parent


class Count(Declaration):
    kind: Literal["count"] = "count"
    name: str | None = None


class Sum(Declaration):
    kind: Literal["sum"] = "sum"
    column: str
    name: str | None = None


class Schedule(Declaration):
    every: Literal["day", "week"] = "day"
    recent_days: int = 1


class Limits(Declaration):
    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Job(Declaration):
    source: str = Field(description="table of events")
    windows: tuple[int, ...] = (7,)
    flag: bool = False
    rate: float = 0.5
    aggregations: tuple[Annotated[Count | Sum, Field(discriminator="kind")], ...] = ()
    columns: Mapping[str, str] | None = None
    schedule: Schedule = Schedule(every="week", recent_days=3)
    limits: Limits | None = None
    pair: tuple[int, str] | None = None

    @field_validator("windows")
    @classmethod
    def _positive(cls, windows):
        if any(window < 1 for window in windows):
            raise ValueError("windows are 1 day or longer")
        return windows


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "job.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path, *overrides, environ=None, model=Job):
    """Lines of the error, the directory of the file left out."""
    with pytest.raises(ConfigError) as raised:
        config.load(model, path, overrides=overrides, environ=environ or {})
    text = str(raised.value)
    return (text.replace(f"{path.parent}/", "") if path else text).splitlines()


def test_a_file_becomes_a_declaration(written):
    path = written("source: events\nwindows: [7, 30]\naggregations:\n  - {kind: count}\n  - {kind: sum, column: amount}\n")
    job = config.load(Job, path, environ={})
    assert job == Job(source="events", windows=(7, 30), aggregations=(Count(), Sum(column="amount")))


def test_single_keys_win_over_the_environment_and_that_over_the_file(written):
    path = written("source: file\nrate: 0.1\nwindows: [1]\n")
    environ = {"SPARKDS__SOURCE": "environment", "SPARKDS__RATE": "0.2"}
    job = config.load(Job, path, overrides=["source=single"], environ=environ)
    assert (job.source, job.rate, job.windows) == ("single", 0.2, (1,))


def test_of_two_single_keys_the_later_wins():
    assert config.load(Job, None, overrides=["source=a", "source=b"], environ={}).source == "b"


def test_the_process_environment_is_read_when_none_is_given(monkeypatch):
    monkeypatch.setenv("SPARKDS__SOURCE", "events")
    monkeypatch.setenv("SPARKDS_TEST", "has one underscore and is no key")
    assert config.load(Job, None).source == "events"


def test_keys_of_the_environment_may_be_written_in_any_case_and_reach_any_depth():
    environ = {"sparkds__Schedule__RECENT_DAYS": "9", "SPARKDS__SOURCE": "e", "SPARKDS__COLUMNS__CustomerId": "string"}
    job = config.load(Job, None, environ=environ)
    assert job.schedule.recent_days == 9
    assert job.columns == {"CustomerId": "string"}


def test_a_key_of_the_environment_finds_a_column_of_the_file_in_another_case(written):
    path = written("source: e\ncolumns: {CustomerId: int, day: date}\n")
    assert config.load(Job, path, environ={"SPARKDS__COLUMNS__CUSTOMERID": "string"}).columns == {"CustomerId": "string", "day": "date"}


def test_a_single_key_reaches_into_a_list_of_the_file(written):
    path = written("source: e\naggregations: [{kind: count}, {kind: sum, column: a}]\n")
    job = config.load(Job, path, overrides=["aggregations.1.column=b", "aggregations.0.name=orders"], environ={})
    assert job.aggregations == (Count(name="orders"), Sum(column="b"))


def test_a_single_key_below_an_absent_one_keeps_what_else_the_default_says():
    assert config.load(Job, None, overrides=["source=e", "schedule.recent_days=5"], environ={}).schedule == Schedule(
        every="week", recent_days=5
    )


def test_a_single_key_that_is_set_in_one_alias_leaves_the_other_as_it_is(written):
    path = written("source: e\naggregations:\n  - &total {kind: sum, column: a}\n  - *total\n")
    job = config.load(Job, path, overrides=["aggregations.0.name=x"], environ={})
    assert [aggregation.name for aggregation in job.aggregations] == ["x", None]


def test_merge_keys_of_yaml_are_understood(written):
    path = written("source: e\naggregations:\n  - &total {kind: sum, column: a}\n  - {<<: *total, column: b}\n")
    assert [a.column for a in config.load(Job, path, environ={}).aggregations] == ["a", "b"]


@pytest.mark.parametrize("word", ["no", "on", "010", "12:30", "1_000", "0x1F", "~x"])
def test_words_that_only_old_yaml_takes_for_something_else_are_texts(written, word):
    assert config.load(Job, written(f"source: {word}\n"), environ={}).source == word


def test_numbers_and_truth_values_are_read(written):
    job = config.load(Job, written("source: e\nflag: true\nrate: 1e-3\nwindows: [+7, 30]\n"), environ={})
    assert (job.flag, job.rate, job.windows) == (True, 0.001, (7, 30))


def test_infinity_is_refused(written):
    assert problems(written("source: e\nrate: .inf\n")) == ["job.yml: rate=inf: input should be a finite number"]


def test_all_problems_are_told_at_once_each_with_its_place(written):
    path = written("sorce: e\nwindows: [0]\nschedule: {every: wek}\naggregations: [{kind: cuont}, {kind: sum}, {name: x}]\nrate: fast\n")
    assert sorted(problems(path, "aggregations.1.nme=x", environ={"SPARKDS__LIMITS__LOW": "5"})) == sorted(
        [
            "--set aggregations.1.nme=x: aggregations[1].nme: unknown key; did you mean 'name'? (keys: kind, column, name)",
            "job.yml: source is required: table of events",
            "job.yml: windows: windows are 1 day or longer",
            "job.yml: rate='fast': input should be a valid number, unable to parse string as a number",
            "job.yml: schedule.every='wek'; choose one of ['day', 'week']; did you mean 'week'?",
            "job.yml: aggregations[0].kind='cuont'; choose one of ['count', 'sum']; did you mean 'count'?",
            "job.yml: aggregations[1].column is required",
            "job.yml: aggregations[2].kind is required; choose one of ['count', 'sum']",
            "job.yml: limits.high is required",
            "job.yml: sorce: unknown key; did you mean 'source'? "
            "(keys: source, windows, flag, rate, aggregations, columns, schedule, limits, pair)",
        ]
    )


def test_a_wrong_value_is_traced_to_where_it_was_given(written):
    path = written("source: e\nwindows: [7]\nrate: 1\n")
    told = problems(path, "windows=[0]", "schedule.recent_days=soon", environ={"SPARKDS__RATE": "fast"})
    assert sorted(line.split(": ")[0] for line in told) == [
        "--set schedule.recent_days=soon",
        "--set windows=[0]",
        "environment variable SPARKDS__RATE",
    ]


def test_a_problem_of_several_keys_names_their_parent(written):
    assert problems(written("source: e\nlimits: {low: 3, high: 2}\n")) == ["job.yml: limits: low 3 is above high 2"]


def test_an_unknown_key_of_a_kind_is_told_with_the_keys_of_that_kind(written):
    (told,) = problems(written("source: e\naggregations: [{kind: sum, column: a, nme: x}]\n"))
    assert told == "job.yml: aggregations[0].nme: unknown key; did you mean 'name'? (keys: kind, column, name)"


def test_a_list_with_a_wrong_entry_is_not_called_too_short(written):
    class Steps(Declaration):
        steps: tuple[Annotated[Count | Sum, Field(discriminator="kind")], ...] = Field(min_length=1)

    (told,) = problems(written("steps: [{kind: summ}]\n"), model=Steps)
    assert told == "job.yml: steps[0].kind='summ'; choose one of ['count', 'sum']; did you mean 'sum'?"
    (told,) = problems(written("steps: []\n"), model=Steps)
    assert told.startswith("job.yml: steps=[]: tuple should have at least 1 item")


def test_a_position_inside_a_pair_is_told(written):
    (told,) = problems(written("source: e\npair: [a, b]\n"))
    assert told.startswith("job.yml: pair[0]='a': input should be a valid integer")


def test_a_long_wrong_value_is_shortened(written):
    (told,) = problems(written("source: e\nwindows: " + "x" * 500 + "\n"))
    assert len(told) < 200
    assert "…" in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("wndows=[7]", "unknown key; did you mean 'windows'?"),
        ("schedule.evry=day", "schedule.evry: unknown key; did you mean 'every'? (keys: every, recent_days)"),
        ("Source=x", "unknown key; did you mean 'source'?"),
        ("windows", "give KEY=VALUE, e.g. windows=[7,30]"),
        ("=3", "a level of the key is empty"),
        ("schedule..every=day", "a level of the key is empty"),
        ("source.x=3", "'source' is 'e', which has no keys below it"),
        ("aggregations.1.name=x", "'aggregations' is a list of 1; '1' is not a position in it"),
        ("aggregations.first.name=x", "'first' is not a position in it"),
        ("windows=[7", "the value cannot be read as YAML"),
    ],
)
def test_a_single_key_that_cannot_be_set_says_why(written, override, told):
    lines = problems(written("source: e\naggregations: [{kind: count}]\n"), override)
    assert len(lines) == 1
    assert lines[0].startswith(f"--set {override}: ")
    assert told in lines[0]


def test_an_unknown_key_of_the_environment_is_refused():
    (told, _) = problems(None, environ={"SPARKDS__SORCE": "x"})
    assert told.startswith("environment variable SPARKDS__SORCE: SORCE: unknown key; did you mean 'source'?")


def test_without_a_file_the_problem_is_of_the_configuration():
    assert problems(None) == ["configuration: source is required: table of events"]


def test_an_absent_file_is_told_with_the_absolute_path_and_the_nearest_one(tmp_path, monkeypatch):
    (tmp_path / "features.yml").write_text("source: e\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        config.load(Job, "feature.yml", environ={})
    place = tmp_path / "feature.yml"
    assert str(raised.value) == (f"configuration file '{place}' does not exist; did you mean 'features.yml'? (there: features.yml)")


def test_an_absent_directory_is_no_trouble_for_the_message(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere/job.yml' does not exist$"):
        config.load(Job, tmp_path / "nowhere" / "job.yml", environ={})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("source: [a\nrate: 1\n", "job.yml, line 2, column 5: cannot be read as YAML: expected ',' or ']'"),
        ("source: a\nrate: 1\nsource: b\n", "job.yml, line 3, column 1: cannot be read as YAML: key 'source' is given twice"),
        ("schedule:\n  every: day\n  every: week\n", "job.yml, line 3, column 3: cannot be read as YAML: key 'every' is given twice"),
        ("source:\n\t- a\n", "job.yml, line 2, column 1: cannot be read as YAML: found character '\\t'"),
        ("source: a\n---\nsource: b\n", "job.yml, line 2, column 1: cannot be read as YAML: but found another document"),
        ("source: !!python/object:os.system x\n", "job.yml, line 1, column 9: cannot be read as YAML: could not determine"),
        ("- source\n", "job.yml: a configuration has keys with values, this is a list"),
        ("source: \x07\n", "job.yml: cannot be read: unacceptable character"),
    ],
)
def test_a_file_that_is_not_yaml_is_told_with_line_and_column(written, text, told):
    (line,) = problems(written(text))
    assert line.startswith(told)


def test_a_file_in_another_encoding_is_told(tmp_path):
    path = tmp_path / "job.yml"
    path.write_bytes("source: Käufe\n".encode("latin-1"))
    (line,) = problems(path)
    assert line.startswith("job.yml: cannot be read: 'utf-8' codec")


def test_an_empty_file_is_an_empty_configuration(written):
    assert problems(written("# nothing\n")) == ["job.yml: source is required: table of events"]


def test_the_schema_of_a_configuration_has_its_descriptions_and_kinds():
    schema = config.schema(Job)
    assert schema["properties"]["source"]["description"] == "table of events"
    assert schema["required"] == ["source"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]["aggregations"]["items"]["discriminator"]["mapping"]) == {"count", "sum"}


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yml")), ids=lambda path: path.stem)
def test_every_configuration_in_conf_loads_as_the_job_of_its_name(path):
    from importlib import import_module

    from sparkds.cli import JOBS

    declared = config.load(import_module(JOBS[path.stem]).Config, path, environ={})
    assert len(declared.definition_hash) == 16
