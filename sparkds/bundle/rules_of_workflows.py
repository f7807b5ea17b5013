"""Rules of workflows: keys that resolve, graphs without cycles, parameters that the called command knows, tables that somebody writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sparkds.bundle.commands import arguments_of, calls_of, for_each_inputs, is_ours, sample_values
from sparkds.bundle.documents import Items, Map
from sparkds.bundle.dynamic_values import OF_RUN, names_in
from sparkds.bundle.findings import Broken, View, of_task, texts
from sparkds.bundle.workflow import KINDS, RUN_IF, Task, in_order, parameters_of, tasks_of, upstream
from sparkds.errors import ConfigError, closest

NEED_COMPUTE: Final = frozenset({"python_wheel_task", "spark_python_task"})
"""Kinds that cannot run without compute of their own; a notebook without it runs on serverless in its own environment."""
COMPUTE: Final = ("environment_key", "job_cluster_key", "existing_cluster_id", "new_cluster")


def keys_resolve(view: View) -> Iterator[Broken]:
    """Environments, job clusters, tasks that are waited for, and kinds of tasks are there; task keys are unique."""
    for job, tree in view.jobs.items():
        tasks = tasks_of(tree)
        keys = [task.key for task in tasks]
        for task in tasks:
            where = of_task(job, task)
            if keys.count(task.key) > 1:
                yield Broken(where, task.place, f"task key '{task.key}' is given twice; rename one")
            for before in task.depends_on:
                if before.task not in keys:
                    told = f"depends_on '{before.task}': there is no such task{closest(before.task, keys)} (tasks: {', '.join(keys)})"
                    yield Broken(where, task.place, told)
                elif before.outcome and next(t for t in tasks if t.key == before.task).kind != "condition_task":
                    yield Broken(where, task.place, f"depends_on '{before.task}' asks for an outcome, which only condition tasks have")
            if task.run_if not in RUN_IF:
                yield Broken(where, task.place, f"run_if {task.run_if} is none of {', '.join(RUN_IF)}{closest(task.run_if, RUN_IF)}")
    for job, tree, task in view.tasks():
        where = of_task(job, task)
        if not task.kind:
            yield Broken(where, task.place, f"the task says not what it does; give one of {', '.join(KINDS[:5])}")
        for name, section in (("environment_key", "environments"), ("job_cluster_key", "job_clusters")):
            key = task.tree.get(name)
            there = [str(item.get(name)) for item in tree.get(section) or () if isinstance(item, Map)]
            if key is not None and key not in there:
                hint = f"{closest(str(key), there)} (there: {', '.join(there) or 'none'})"
                yield Broken(where, task.tree.places.get(name), f"{name} '{key}' is not in the job's {section}{hint}")

        if task.kind in NEED_COMPUTE and not any(name in task.tree for name in COMPUTE):
            yield Broken(where, task.place, f"a {task.kind} needs compute; give environment_key (serverless) or job_cluster_key")


def dynamic_values_are_known(view: View) -> Iterator[Broken]:
    """``{{…}}`` refers to a parameter of the job, a task before this one, the input of a for-each, or a fact of every run."""
    for job, tree in view.jobs.items():
        before = upstream(tasks_of(tree))
        parameters = [f"job.parameters.{name}" for name in parameters_of(tree)]
        for task in tasks_of(tree):
            inner = task.repeated
            told = [(text, False) for text in texts({k: v for k, v in task.body.items() if k != "task"})]
            told += [(text, True) for text in texts(inner.body if inner is not None else {})]
            for text, repeated in told:
                for name in names_in(text):
                    problem = _unknown(name, parameters, before.get(task.key, set()), repeated)
                    if problem:
                        yield Broken(of_task(job, task), task.place, f"{{{{{name}}}}}: {problem}")


def _unknown(name: str, parameters: list[str], before: set[str], repeated: bool) -> str:
    if name in parameters or name in OF_RUN:
        return ""
    if name.startswith("job.parameters."):
        return f"the job has no such parameter{closest(name, parameters)} (parameters: {', '.join(parameters) or 'none'})"
    if name.startswith("tasks."):
        task = name.split(".")[1]
        return (
            ""
            if task in before
            else f"task '{task}' does not run before this one; add it to depends_on (before: {', '.join(sorted(before)) or 'none'})"
        )
    if name.partition(".")[0] == "input":
        return "" if repeated else "only the task below a for_each_task has an input"
    return f"no run has such a value{closest(name, [*parameters, *OF_RUN])}"


def graphs_are_acyclic(view: View) -> Iterator[Broken]:
    """No task waits for itself."""
    for job, tree in view.jobs.items():
        tasks = tasks_of(tree)
        _, cycle = in_order(tasks)
        if cycle:
            place = next((task.place for task in tasks if task.key == cycle[0]), None)
            yield Broken(f"resources.jobs.{job}", place, f"tasks wait for each other: {' -> '.join(cycle)}; take one depends_on out")


def parameters_parse(view: View) -> Iterator[Broken]:
    """Rendered parameters of our own commands are accepted by the command's parser, and its configuration loads."""
    for job, tree in view.jobs.items():
        for task in tasks_of(tree):
            try:
                list(_calls(tree, task))
            except ConfigError as error:
                yield Broken(of_task(job, task), task.place, str(error))


def _calls(job: Map, task: Task) -> Iterator[Any]:
    inner = task.repeated
    if inner is not None:
        if any(name.startswith("tasks.") for text in texts(task.body.get("inputs")) for name in names_in(text)):
            return  # inputs that a task tells are known when it has run
        inputs = for_each_inputs(task, sample_values(job, task))
        if is_ours(inner):
            yield from calls_of(job, inner, inputs=inputs)
    elif is_ours(task):
        yield from calls_of(job, task)


def tables_have_writers(view: View) -> Iterator[Broken]:
    """A table that a job reads is written by a task before it, by another job of the bundle, or declared as an input."""
    written: dict[str, list[tuple[str, str]]] = {}
    read: list[tuple[str, Task, str]] = []
    for job, tree in view.jobs.items():
        for task in tasks_of(tree):
            try:
                calls = list(_calls(tree, task))
            except ConfigError:
                continue  # told by another rule
            for one in calls:
                read += [(job, task, table) for table in (*one.reads, *one.needs)]
                for table in one.writes:
                    written.setdefault(table, []).append((job, task.key))
            reads, writes = view.task_tables.get(f"{job}.{task.key}", ((), ()))
            read += [(job, task, table) for table in reads]
            for table in writes:
                written.setdefault(table, []).append((job, task.key))
    before = {job: upstream(tasks_of(tree)) for job, tree in view.jobs.items()}
    seen: set[tuple[str, str, str]] = set()
    for job, task, table in read:
        if (job, task.key, table) in seen:
            continue
        seen.add((job, task.key, table))
        writers = written.get(table, [])
        if table in view.inputs or any(other != job or key in before[job].get(task.key, ()) for other, key in writers):
            continue
        where = of_task(job, task)
        late = [key for other, key in writers if other == job and key != task.key]
        if late:
            yield Broken(
                where,
                task.place,
                f"table '{table}' is written by task '{late[0]}', which does not run before this one; add it to depends_on",
            )
        else:
            known = [*written, *view.inputs]
            told = f"table '{table}' is written by no job and declared as no input{closest(table, known)}"
            yield Broken(where, task.place, f"{told}; add the job that writes it, or declare it under inputs of local_run.yml")


def traffic_sums_to_100(view: View) -> Iterator[Broken]:
    """Shares of a serving endpoint's traffic sum to 100 and go to entities that are served."""
    for key, endpoint in view.target.resources("model_serving_endpoints").items():
        told = endpoint.get("config") or Map()
        names = [str(entity.get("name")) for entity in told.get("served_entities") or () if isinstance(entity, Map)]
        routes = (told.get("traffic_config") or Map()).get("routes") or Items()
        where = f"resources.model_serving_endpoints.{key}.config.traffic_config"
        place = told.places.get("traffic_config") if isinstance(told, Map) else None
        try:
            shares = [int(route.get("traffic_percentage", 0)) for route in routes]
        except (TypeError, ValueError):
            yield Broken(where, place, "traffic_percentage must be whole numbers")
            continue
        if routes and (sum(shares) != 100 or min(shares) < 0):
            yield Broken(where, place, f"shares of traffic sum to {sum(shares)} ({' + '.join(map(str, shares))}); they must sum to 100")
        for route in routes:
            name = str(route.get("served_entity_name") or route.get("served_model_name"))
            if name not in names:
                yield Broken(
                    where,
                    place,
                    f"traffic goes to '{name}', which is not served{closest(name, names)} (served: {', '.join(names) or 'none'})",
                )


def arguments_are_texts(view: View) -> Iterator[Broken]:
    """Parameters are given as a list or by name, not both."""
    for job, _, task in view.tasks():
        if "parameters" in task.body and "named_parameters" in task.body:
            yield Broken(of_task(job, task), task.place, "parameters and named_parameters are both given; keep one")
        elif task.kind == "python_wheel_task" and any(argument == "" for argument in arguments_of(task)):
            yield Broken(of_task(job, task), task.place, "a parameter is empty; leave it out or give a value")
