"""Engine: order, conditions, repetitions, retries, timeouts, run_if, repairs - with work that is only pretended."""

import json

import pytest

from sparkds.bundle.documents import Items, Map
from sparkds.bundle.engine import CANCELED, EXCLUDED, FAILED, SUCCESS, TIMED_OUT, UPSTREAM_FAILED, Done, JobRun, state_of_job, summary
from sparkds.errors import ConfigError


def tree(value):
    if isinstance(value, dict):
        return Map({key: tree(below) for key, below in value.items()})
    return Items([tree(below) for below in value]) if isinstance(value, list) else value


def task(key, *before, **more):
    depends = [{"task_key": b} if isinstance(b, str) else {"task_key": b[0], "outcome": b[1]} for b in before]
    return {"task_key": key, "depends_on": depends, "python_wheel_task": {"parameters": [key]}, **more}


def condition(key, *before, left="a", op="EQUAL_TO", right="a"):
    told = task(key, *before)
    del told["python_wheel_task"]
    return {**told, "condition_task": {"left": left, "op": op, "right": right}}


class Pretended:
    """Executor with a clock of its own: `plan` says what comes of a task's attempts, one after the other."""

    def __init__(self, **plan):
        self.plan, self.work, self.now, self.slept = plan, [], 0.0, []

    def __call__(self, work):
        self.work.append(work)
        told = self.plan.get(work.name.partition("[")[0], SUCCESS)
        told = told[min(work.attempt, len(told)) - 1] if isinstance(told, list) else told
        if isinstance(told, Done):
            return told
        seconds = told if isinstance(told, int | float) else 1.0
        self.now += min(seconds, work.timeout)
        if seconds > work.timeout:
            return Done(TIMED_OUT, "too long")
        return Done(told if isinstance(told, str) else SUCCESS, "" if told == SUCCESS or not isinstance(told, str) else "it broke")

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    @property
    def names(self):
        return [work.name for work in self.work]


def run(tasks, execute=None, *, before=None, first=None, parameters=None, **job):
    execute = execute or Pretended()
    made = tree({"tasks": tasks, **job})
    told = JobRun("j", made, execute, parameters or {}, clock=lambda: execute.now, sleep=execute.sleep).run(before=before, first=first)
    return told, execute, state_of_job(made, told)


def states(told):
    return {key: outcome.state for key, outcome in told.items()}


def test_tasks_run_after_those_they_wait_for_and_otherwise_as_they_stand():
    _, did, state = run([task("c", "a", "b"), task("b"), task("a"), task("d", "c")])
    assert did.names == ["b", "a", "c", "d"]
    assert state == SUCCESS


def test_a_task_that_fails_keeps_its_dependants_from_running_and_the_summary_says_which():
    told, did, state = run([task("a"), task("b", "a"), task("c", "b"), task("d")], Pretended(b=FAILED))
    assert states(told) == {"a": SUCCESS, "b": FAILED, "c": UPSTREAM_FAILED, "d": SUCCESS}
    assert did.names == ["a", "b", "d"]
    assert state == FAILED
    lines = list(summary(told))
    assert lines[2].split()[:4] == ["b", "FAILED", "1", "1.0"]
    assert lines[2].endswith("it broke")
    assert "b did not succeed" in lines[3]


def test_a_failure_that_a_later_task_clears_up_leaves_the_job_a_success_with_failures():
    told, _, state = run([task("a"), task("clean", "a", run_if="ALL_DONE")], Pretended(a=FAILED))
    assert states(told) == {"a": FAILED, "clean": SUCCESS}
    assert state == "SUCCESS_WITH_FAILURES"


@pytest.mark.parametrize(
    ("run_if", "good", "mixed", "bad"),
    [
        ("ALL_SUCCESS", SUCCESS, UPSTREAM_FAILED, UPSTREAM_FAILED),
        ("ALL_DONE", SUCCESS, SUCCESS, SUCCESS),
        ("NONE_FAILED", SUCCESS, UPSTREAM_FAILED, UPSTREAM_FAILED),
        ("AT_LEAST_ONE_SUCCESS", SUCCESS, SUCCESS, UPSTREAM_FAILED),
        ("ALL_FAILED", EXCLUDED, EXCLUDED, SUCCESS),
        ("AT_LEAST_ONE_FAILED", EXCLUDED, SUCCESS, SUCCESS),
    ],
)
def test_run_if_is_honoured(run_if, good, mixed, bad):
    tasks = [task("a"), task("b"), task("c", "a", "b", run_if=run_if)]
    for plan, expected in (({}, good), ({"a": FAILED}, mixed), ({"a": FAILED, "b": FAILED}, bad)):
        told, _, _ = run(tasks, Pretended(**plan))
        assert told["c"].state == expected, plan


def test_a_condition_chooses_the_branch_and_what_it_leaves_out_is_excluded_with_all_after_it():
    tasks = [
        task("evaluate"),
        condition("passed", "evaluate", left="{{tasks.evaluate.values.gates_passed}}", right="true"),
        task("promote", ("passed", "true")),
        task("tell", ("passed", "false")),
        task("after", "promote"),
        task("end", "promote", "tell"),
    ]
    for passed, branch, other in (("true", "promote", "tell"), ("false", "tell", "promote")):
        told, _, state = run(tasks, Pretended(evaluate=Done(SUCCESS, "", {"gates_passed": passed})))
        assert (told[branch].state, told[other].state) == (SUCCESS, EXCLUDED)
        assert told["passed"].result == passed
        assert told["after"].state == (SUCCESS if passed == "true" else EXCLUDED)
        assert told["end"].state == SUCCESS
        assert state == SUCCESS


@pytest.mark.parametrize(
    ("left", "op", "right", "result"),
    [
        ("1.0", "EQUAL_TO", "1", "false"),
        ("a", "NOT_EQUAL", "b", "true"),
        ("10", "GREATER_THAN", "9", "true"),
        ("9", "GREATER_THAN_OR_EQUAL", "9.0", "true"),
        ("9", "LESS_THAN", "9", "false"),
        ("8", "LESS_THAN_OR_EQUAL", "9", "true"),
    ],
)
def test_equality_compares_texts_and_order_compares_numbers(left, op, right, result):
    told, _, _ = run([condition("c", left=left, op=op, right=right)])
    assert told["c"].result == result


@pytest.mark.parametrize(("op", "message"), [("GREATER_THAN", "compares numbers"), ("IS", "op 'IS' is none of")])
def test_a_condition_that_cannot_be_decided_fails(op, message):
    told, _, state = run([condition("c", op=op)])
    assert told["c"].state == FAILED
    assert message in told["c"].message
    assert state == FAILED


def test_a_value_that_no_task_told_fails_the_task_that_asks_for_it():
    told, did, _ = run([task("a"), task("b", "a", python_wheel_task={"parameters": ["{{tasks.a.values.x}}"]})])
    assert told["b"].state == FAILED
    assert "{{tasks.a.values.x}} has no value here" in told["b"].message
    assert did.names == ["a"]


def test_parameters_and_values_are_filled_in():
    tasks = [
        task("a"),
        task("b", "a", python_wheel_task={"parameters": ["{{job.parameters.day}}/{{tasks.a.values.n}}/{{tasks.a.result_state}}"]}),
    ]
    did = Pretended(a=Done(SUCCESS, "", {"n": 3}))
    made = tree({"tasks": tasks, "parameters": [{"name": "day", "default": "latest"}]})
    JobRun("j", made, did, {"day": "1998-06-30"}).run()
    assert did.work[1].body["parameters"] == ["1998-06-30/3/success"]
    with pytest.raises(ConfigError, match=r"job 'j' has no parameter 'dya'; did you mean 'day'"):
        JobRun("j", made, did, {"dya": "x"}).run()


def for_each(inputs, **inner):
    told = task("months")
    del told["python_wheel_task"]
    body = {"task_key": "month", "python_wheel_task": {"parameters": ["--start={{input.start}}"]}, **inner}
    return {**told, "for_each_task": {"inputs": inputs, "task": body}}


def test_a_for_each_runs_its_task_for_every_input_and_fails_when_one_fails():
    inputs = json.dumps([{"start": "1997-07-01"}, {"start": "1997-08-01"}, {"start": "1997-09-01"}])

    class SecondBreaks(Pretended):
        def __call__(self, work):
            self.work.append(work)
            return Done(FAILED, "it broke") if work.name == "months[1]" else Done(SUCCESS)

    told, did, state = run([for_each(inputs), task("after", "months")], SecondBreaks())
    assert [work.body["parameters"] for work in did.work] == [[f"--start=1997-0{m}-01"] for m in (7, 8, 9)]
    assert (told["months"].state, told["months"].attempts, state) == (FAILED, 3, FAILED)
    assert told["months"].message == "months[1]: it broke"
    assert told["after"].state == UPSTREAM_FAILED


@pytest.mark.parametrize("inputs", ["[]", "7", "[1,", '"{{tasks.x.values.y}}"'])
def test_inputs_that_are_no_list_fail_the_for_each(inputs):
    told, did, _ = run([for_each(inputs)])
    assert told["months"].state == FAILED
    assert did.work == []


def test_the_timeout_of_a_for_each_bounds_its_repetitions():
    told, did, _ = run([{**for_each(json.dumps([{"start": "a"}, {"start": "b"}])), "timeout_seconds": 100}], Pretended(months=70))
    assert [work.timeout for work in did.work] == [100.0, 30.0]
    assert told["months"].state == FAILED
    assert told["months"].message == "months[1]: too long"


def test_outcomes_are_kept_after_every_task():
    kept = []
    made, did = tree({"tasks": [task("a"), task("b", "a")]}), Pretended(b=FAILED)
    JobRun("j", made, did, keep=lambda told: kept.append(states(told))).run()
    assert kept == [{"a": SUCCESS}, {"a": SUCCESS, "b": FAILED}]


def test_an_attempt_knows_its_task_and_number():
    did = Pretended(a=[FAILED, SUCCESS])
    run([task("a", max_retries=1, python_wheel_task={"parameters": ["{{task.name}} {{task.execution_count}}"]})], did)
    assert [work.body["parameters"] for work in did.work] == [["a 1"], ["a 2"]]


def test_a_task_is_tried_again_as_often_as_it_says_and_waits_in_between():
    plan = {"a": [FAILED, FAILED, SUCCESS]}
    told, did, _ = run([task("a", max_retries=2, min_retry_interval_millis=30_000)], Pretended(**plan))
    assert (told["a"].state, told["a"].attempts, did.slept) == (SUCCESS, 3, [30.0, 30.0])
    told, did, _ = run([task("a", max_retries=1)], Pretended(**plan))
    assert (told["a"].state, told["a"].attempts) == (FAILED, 2)
    told, did, _ = run([task("a")], Pretended(**plan))
    assert (told["a"].state, told["a"].attempts) == (FAILED, 1)


def test_a_task_that_hangs_is_ended_and_tried_again_only_where_it_says_so():
    told, did, _ = run([task("a", timeout_seconds=60, max_retries=3)], Pretended(a=1000))
    assert (told["a"].state, told["a"].attempts, did.now) == (TIMED_OUT, 1, 60.0)
    told, did, _ = run([task("a", timeout_seconds=60, max_retries=1, retry_on_timeout=True)], Pretended(a=1000))
    assert (told["a"].state, told["a"].attempts) == (TIMED_OUT, 2)


def test_the_timeout_of_the_job_bounds_its_tasks_and_cancels_what_is_left():
    told, did, state = run([task("a"), task("b", "a"), task("c")], Pretended(a=70, b=70), timeout_seconds=100)
    assert states(told) == {"a": SUCCESS, "b": TIMED_OUT, "c": CANCELED}
    assert did.work[1].timeout == 30.0
    assert state == FAILED


def test_a_repair_runs_again_what_failed_and_what_comes_after_the_named_task_and_keeps_the_rest():
    tasks = [task("a"), task("b", "a"), task("c", "b"), task("d", "a")]
    before, _, _ = run(tasks, Pretended(a=Done(SUCCESS, "", {"n": 1}), b=FAILED))
    told, did, state = run(tasks, before=before, first="b")
    assert did.names == ["b", "c"]
    assert [key for key, outcome in told.items() if outcome.kept] == ["a", "d"]
    assert told["a"].values == {"n": 1}
    assert state == SUCCESS
    _, did, _ = run(tasks, before=told, first="a")
    assert did.names == ["a", "b", "c", "d"]
    with pytest.raises(ConfigError, match=r"job 'j' has no task 'bb'; did you mean 'b'"):
        run(tasks, before=told, first="bb")


def test_tasks_that_wait_for_each_other_are_refused_before_anything_runs():
    did = Pretended()
    with pytest.raises(ConfigError, match="a -> b -> a"):
        run([task("a", "b"), task("b", "a")], did)
    assert did.work == []
