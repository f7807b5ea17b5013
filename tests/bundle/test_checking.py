"""Rules of a bundle: each with an example that breaks it, and our own bundle, which breaks none."""

import shutil
from pathlib import Path

import pytest

from sparkds.bundle.checking import RULES, check
from sparkds.bundle.documents import read_bundle
from sparkds.bundle.references import resolved
from sparkds.bundle.rules_of_deployment import quartz_problem, runtimes, unmet
from sparkds.bundle.typed_models import is_installed
from sparkds.bundle.wheels import Wheel, read_wheel
from sparkds.bundle.workflow import tasks_of
from sparkds.errors import ConfigError
from tests.bundle import small

ROOT = Path(__file__).parents[2]


def found(root, **more):
    return check(root, builds=False, inputs=root / "local_run.yml", **more)


def test_the_small_bundle_breaks_no_rule(tmp_path):
    assert found(small.write(tmp_path / "b")) == []


def tasks(job):
    return {task["task_key"]: task for task in job["tasks"]}


def features(job):
    return tasks(job)["features"]["python_wheel_task"]


def month(job):
    return tasks(job)["months"]["for_each_task"]


CASES = {
    "a section with a typo": (
        "sections",
        lambda b, j, e, r: b.update(varibles={}),
        "there is no section 'varibles'; did you mean 'variables'",
    ),
    "an unknown mode": (
        "sections",
        lambda b, j, e, r: b["targets"]["dev"].update(mode="develpment"),
        "mode 'develpment' is none of development, production; did you mean 'development'",
    ),
    "an undeclared variable": (
        "variables",
        lambda b, j, e, r: features(j)["parameters"].append("--set=name=${var.nmae}"),
        r"variable 'nmae' is not declared",
    ),
    "a variable without a value": (
        "variables",
        lambda b, j, e, r: b["targets"]["prod"]["variables"].pop("catalog"),
        r"variable 'catalog' has no value in target 'prod'; set it under targets.prod.variables",
    ),
    "a variable set but not declared": (
        "variables",
        lambda b, j, e, r: b["targets"]["dev"]["variables"].update(catalogue="x"),
        "variable 'catalogue' is set but not declared; did you mean 'catalog'",
    ),
    "a resource that is not there": (
        "references",
        lambda b, j, e, r: features(j)["parameters"].append("--set=name=${resources.schemas.shop.name}"),
        r"\$\{resources.schemas.shop.name\}: resources has no 'schemas'",
    ),
    "a misspelt field": ("types", lambda b, j, e, r: j.update(max_concurent_runs=1), "max_concurent_runs"),
    "an unknown kind of resource": (
        "types",
        lambda b, j, e, r: b.update(resources={"job": {"x": {}}}),
        "there is no kind of resource 'job'; did you mean 'jobs'",
    ),
    "an old field": (
        "deprecated",
        lambda b, j, e, r: j["environments"][0]["spec"].update(client="2"),
        "client is deprecated; use environment_version",
    ),
    "an environment that is a number": (
        "deprecated",
        lambda b, j, e, r: j["environments"][0]["spec"].update(environment_version=5),
        'environment_version 5 is a number; write it as a text: "5"',
    ),
    "an unknown environment": (
        "keys",
        lambda b, j, e, r: tasks(j)["features"].update(environment_key="defalt"),
        r"environment_key 'defalt' is not in the job's environments; did you mean 'default'",
    ),
    "a job cluster that is not there": (
        "keys",
        lambda b, j, e, r: month(j)["task"].update(job_cluster_key="main"),
        r"job_cluster_key 'main' is not in the job's job_clusters \(there: none\)",
    ),
    "no compute": ("keys", lambda b, j, e, r: tasks(j)["features"].pop("environment_key"), "needs compute; give environment_key"),
    "a task that waits for nobody": (
        "keys",
        lambda b, j, e, r: tasks(j)["months"].update(depends_on=[{"task_key": "feature"}]),
        "depends_on 'feature': there is no such task; did you mean 'features'",
    ),
    "an outcome of what is no condition": (
        "keys",
        lambda b, j, e, r: tasks(j)["months"].update(depends_on=[{"task_key": "features", "outcome": "true"}]),
        "asks for an outcome, which only condition tasks have",
    ),
    "an unknown run_if": ("keys", lambda b, j, e, r: tasks(j)["months"].update(run_if="ALL_GOOD"), "run_if ALL_GOOD is none of"),
    "a cycle": (
        "cycles",
        lambda b, j, e, r: tasks(j)["features"].update(depends_on=[{"task_key": "months"}]),
        "tasks wait for each other: features -> months -> features; take one depends_on out",
    ),
    "a job parameter that is not there": (
        "dynamic values",
        lambda b, j, e, r: j["parameters"].clear(),
        r"\{\{job.parameters.catalog\}\}: the job has no such parameter",
    ),
    "an input outside a for-each": (
        "dynamic values",
        lambda b, j, e, r: features(j)["parameters"].append("--start={{input.start}}"),
        "only the task below a for_each_task has an input",
    ),
    "a value of a task that runs later": (
        "dynamic values",
        lambda b, j, e, r: features(j)["parameters"].append("--set=name={{tasks.months.values.x}}"),
        "task 'months' does not run before this one; add it to depends_on",
    ),
    "parameters given twice": ("arguments", lambda b, j, e, r: features(j).update(named_parameters={"a": "b"}), "keep one"),
    "a parameter the command does not know": (
        "commands",
        lambda b, j, e, r: features(j)["parameters"].append("--inptu=x"),
        "(?i)no such option.*--inptu",
    ),
    "an unknown command": (
        "commands",
        lambda b, j, e, r: features(j)["parameters"].__setitem__(0, "feature_pipeline"),
        "no command 'feature_pipeline'",
    ),
    "a configuration that does not load": (
        "commands",
        lambda b, j, e, r: features(j)["parameters"].append("--set=windows=[0]"),
        "feature_engineering_pipeline: --set windows",
    ),
    "a configuration that is not there": (
        "commands",
        lambda b, j, e, r: features(j)["parameters"].__setitem__(3, "--config=${workspace.file_path}/feature.yml"),
        "does not exist; did you mean 'features.yml'",
    ),
    "inputs that are no list": ("commands", lambda b, j, e, r: month(j).update(inputs='{"a": 1}'), "JSON list with at least one value"),
    "an input without its key": (
        "commands",
        lambda b, j, e, r: month(j).update(inputs='[{"begin": "1997-07-01"}]'),
        r"\{\{input.start\}\} has no value here",
    ),
    "a table that nobody writes": (
        "tables",
        lambda b, j, e, r: features(j)["parameters"].append("--set=source=orders"),
        "table '/Volumes/dev/raw/landing/orders' is written by no job and declared as no input",
    ),
    "a table written too late": (
        "tables",
        lambda b, j, e, r: (
            features(j)["parameters"].extend(["--input={{job.parameters.catalog}}.late", "--set=source=features"])
            or month(j)["task"]["python_wheel_task"]["parameters"].append("--output={{job.parameters.catalog}}.late")
        ),
        "table 'dev.late.features' is written by task 'months', which does not run before this one",
    ),
    "a notebook that is not there": (
        "files",
        lambda b, j, e, r: j["tasks"].append(
            {"task_key": "n", "environment_key": "default", "notebook_task": {"notebook_path": "../notebooks/x.py"}}
        ),
        "notebook_path '../notebooks/x.py' does not exist",
    ),
    "a pattern that is not the wheel": (
        "wheels",
        lambda b, j, e, r: j["environments"][0]["spec"].update(dependencies=["dist/*.whl"]),
        "'dist/\\*.whl' matches nothing; it must match the wheel just built",
    ),
    "an entry point that is not there": (
        "entry points",
        lambda b, j, e, r: features(j).update(entry_point="sparkd"),
        "entry point 'sparkd' is not in sparkds-1.0-py3-none-any.whl; did you mean 'sparkds'",
    ),
    "a package that is another": (
        "entry points",
        lambda b, j, e, r: features(j).update(package_name="spark_ds"),
        "package_name 'spark_ds' is not the wheel's distribution 'sparkds'",
    ),
    "a runtime of which nothing is known": (
        "requirements",
        lambda b, j, e, r: j["environments"][0]["spec"].update(environment_version="2"),
        "nothing is known of runtime 'serverless-2'",
    ),
    "a schedule of the wrong kind": (
        "schedules",
        lambda b, j, e, r: j["schedule"].update(quartz_cron_expression="30 4 * * *"),
        "it has 5 fields; Quartz has seconds",
    ),
    "a zone that is none": (
        "schedules",
        lambda b, j, e, r: j["schedule"].update(timezone_id="Europe/Berln"),
        "timezone_id 'Europe/Berln' is no IANA time zone; did you mean 'Europe/Berlin'",
    ),
    "traffic that is not all": (
        "traffic",
        lambda b, j, e, r: e["config"]["traffic_config"]["routes"][0].update(traffic_percentage=90),
        r"shares of traffic sum to 90 \(90\); they must sum to 100",
    ),
    "traffic to nobody": (
        "traffic",
        lambda b, j, e, r: e["config"]["traffic_config"]["routes"][0].update(served_entity_name="champ"),
        "traffic goes to 'champ', which is not served",
    ),
    "a catalog spelled out": (
        "catalogs",
        lambda b, j, e, r: e["config"]["served_entities"][0].update(entity_name="main.shop.m"),
        "entity_name 'main.shop.m' is spelled out",
    ),
    "a location spelled out": (
        "catalogs",
        lambda b, j, e, r: features(j)["parameters"].__setitem__(2, "--output=main.shop"),
        "parameter '--output=main.shop' spells a catalog out",
    ),
    "somebody's address": (
        "addresses",
        lambda b, j, e, r: j.update(email_notifications={"on_failure": ["ann@example.com"]}),
        "'ann@example.com' is a person's or list's address",
    ),
    "production without a root": (
        "production",
        lambda b, j, e, r: b["targets"]["prod"].pop("workspace"),
        "mode production needs a workspace.root_path of the target",
    ),
    "production in somebody's folder": (
        "production",
        lambda b, j, e, r: b["targets"]["prod"]["workspace"].update(root_path="/Workspace/Users/${workspace.current_user.userName}/x"),
        "root_path of production stands in a user's folder",
    ),
    "production for everybody": ("production", lambda b, j, e, r: b["targets"]["prod"].pop("permissions"), "production has no permissions"),
    "production by a user": (
        "production",
        lambda b, j, e, r: j.update(run_as={"user_name": "ann"}),
        "user_name in production; name a group",
    ),
    "production without a principal": (
        "production",
        lambda b, j, e, r: j.pop("run_as"),
        "the job has no run_as.service_principal_name, which production needs",
    ),
    "a wheel of every deployment in production": (
        "production",
        lambda b, j, e, r: b["targets"]["prod"].update(presets={"artifacts_dynamic_version": True}),
        "artifacts_dynamic_version in production makes a new wheel of every deployment",
    ),
    "a dynamic version of the artifact itself": (
        "production",
        lambda b, j, e, r: b["artifacts"]["wheel"].update(dynamic_version=True),
        "^dynamic_version in production",
    ),
    "somebody's address in a target": (
        "addresses",
        lambda b, j, e, r: b["targets"]["prod"]["variables"].update(catalog="ann@example.com"),
        "'ann@example.com' is a person's or list's address",
    ),
    "a task of the old kind": (
        "deprecated",
        lambda b, j, e, r: j["tasks"].append({"task_key": "s", "spark_submit_task": {"parameters": []}}),
        "spark_submit_task is deprecated; use python_wheel_task or spark_python_task",
    ),
    "served models": (
        "deprecated",
        lambda b, j, e, r: e["config"].update(served_models=[]),
        "served_models is deprecated; use served_entities",
    ),
    "an old access mode": (
        "deprecated",
        lambda b, j, e, r: j.update(
            job_clusters=[
                {
                    "job_cluster_key": "m",
                    "new_cluster": {"spark_version": "18.x-scala2.13", "node_type_id": "m", "data_security_mode": "SINGLE_USER"},
                }
            ]
        ),
        "data_security_mode SINGLE_USER is an old name; use DATA_SECURITY_MODE_DEDICATED",
    ),
    "a silence that moved": (
        "deprecated",
        lambda b, j, e, r: j.update(email_notifications={"no_alert_for_skipped_runs": True}),
        "use notification_settings.no_alert_for_skipped_runs",
    ),
    "a file of an environment that is not there": (
        "files",
        lambda b, j, e, r: tasks(j)["features"].update(libraries=[{"requirements": "../nowhere.txt"}]),
        "requirements '../nowhere.txt' does not exist",
    ),
    "a file that is not synchronised": (
        "files",
        lambda b, j, e, r: b.update(sync={"exclude": ["*.yml"]}),
        r"'features.yml' is excluded by sync.exclude '\*.yml', so that it is not deployed",
    ),
    "a schedule of a monitor": (
        "schedules",
        lambda b, j, e, r: b.update(
            resources={"quality_monitors": {"m": {"schedule": {"quartz_cron_expression": "0 0 7 * * *", "timezone_id": "UTC"}}}}
        ),
        "exactly one of day of month and day of week",
    ),
    "a schedule of an alert": (
        "schedules",
        lambda b, j, e, r: b.update(resources={"alerts": {"a": {"schedule": {"quartz_cron_schedule": "0 0 8 * *", "timezone_id": "UTC"}}}}),
        "it has 5 fields",
    ),
    "a default spelled out": (
        "catalogs",
        lambda b, j, e, r: j["parameters"].append({"name": "schema", "default": "sales"}),
        "parameter 'schema' has the default 'sales', which is spelled out",
    ),
    "a schema spelled out": (
        "catalogs",
        lambda b, j, e, r: b.update(resources={"schemas": {"s": {"name": "sales", "catalog_name": "${var.catalog}"}}}),
        "'(dev_someone_)?sales' is spelled out",
    ),
    "half a name spelled out": (
        "catalogs",
        lambda b, j, e, r: e["config"]["served_entities"][0].update(entity_name="${var.catalog}.shop.m"),
        "is spelled out",
    ),
    "a model spelled out": (
        "catalogs",
        lambda b, j, e, r: features(j)["parameters"].append("--set=name=models:/main.${bundle.target}.m@champion"),
        "spells a catalog out",
    ),
    "a volume spelled out": (
        "catalogs",
        lambda b, j, e, r: features(j)["parameters"].append("--input=/Volumes/main/raw/landing"),
        "spells a catalog out",
    ),
    "a parameter of a notebook spelled out": (
        "catalogs",
        lambda b, j, e, r: j["tasks"].append(
            {"task_key": "n", "notebook_task": {"notebook_path": "../n.py", "base_parameters": {"tables": "main.${bundle.target}"}}}
        ),
        r"parameter 'main.\$\{bundle.target\}' spells a catalog out",
    ),
    "a query with a catalog": (
        "catalogs",
        lambda b, j, e, r: b.update(resources={"alerts": {"a": {"query_text": "SELECT 1 FROM main.sales.orders"}}}),
        "the query spells catalog or schema 'main' out",
    ),
    "a task of local_run.yml that is not there": (
        "inputs",
        lambda b, j, e, r: r.update(tasks={"daily.feature": {"reads": []}}),
        "tasks.daily.feature: the target has no such task; did you mean 'daily.features'",
    ),
    "a resource without anything": ("types", lambda b, j, e, r: b.update(resources={"volumes": {"v": None}}), "this is a NoneType"),
    "an input with a reference to nothing": (
        "inputs",
        lambda b, j, e, r: r["inputs"][0].update(location="${var.rwa}"),
        "variable 'rwa' is not declared; did you mean 'raw'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_that_breaks_a_rule_is_told_which_and_where(tmp_path, case):
    rule, change, message = CASES[case]
    told = found(small.write(tmp_path / "b", change=change))
    mine = [finding for finding in told if finding.rule == rule]
    assert mine, told
    import re

    assert any(re.search(message, finding.message) for finding in mine), mine
    if rule not in ("inputs",):
        assert any(".yml:" in finding.place for finding in mine) or rule in ("wheels", "production"), mine


def test_every_rule_has_an_example_that_breaks_it():
    assert set(RULES) <= {rule for rule, _, _ in CASES.values()}


def test_typed_models_are_part_of_the_tests():
    assert is_installed()


def test_no_wheel_and_two_wheels_are_told(tmp_path):
    root = small.write(tmp_path / "b")
    small.wheel(root / "dist", name="other")
    assert any("must hold one wheel (there: other-1.0-py3-none-any.whl, sparkds-1.0" in f.message for f in found(root))
    shutil.rmtree(root / "dist")
    assert any(f.rule == "wheels" and "must hold one wheel (there: nothing); build it: true" in f.message for f in found(root))


def test_a_build_that_fails_is_told_with_what_it_said(tmp_path):
    def change(b, j, e, r):
        b["artifacts"]["wheel"]["build"] = "echo no setup.py here; exit 3"

    root = small.write(tmp_path / "b", change=change)
    told = check(root, inputs=root / "local_run.yml")
    assert any("the build command ends with 3" in f.message and "no setup.py here" in f.message for f in told)


def test_a_requirement_that_a_runtime_does_not_meet_is_told(tmp_path):
    told = found(small.write(tmp_path / "b", requires=("scikit-learn>=1.7", "scipy>=1.15", 'pyspark==4.2.0; extra == "local"')))
    assert [f.rule for f in told] == ["requirements", "requirements"]
    assert "scikit-learn >=1.7 is not met by serverless environment 5, which has 1.6.1" in told[0].message


def test_a_python_that_a_runtime_does_not_have_is_told(tmp_path):
    root = small.write(tmp_path / "b")
    small.wheel(root / "dist", python=">=3.13")
    told = found(root)
    assert {f.rule for f in told} == {"requirements"}
    assert "Python >=3.13 is not met by serverless environment 5, which has 3.12" in told[0].message


def test_an_entry_point_whose_module_is_not_packed_is_told(tmp_path):
    root = small.write(tmp_path / "b")
    small.wheel(root / "dist", module="command_line")
    told = found(root)
    assert {f.rule for f in told} == {"entry points"}
    assert "entry point 'sparkds' is in module 'sparkds.cli', which sparkds-1.0-py3-none-any.whl does not have" in told[0].message


def test_what_other_bundles_have_is_no_finding(tmp_path):
    """No wheel, notebooks without compute, kinds without a typed model, anchors, a run_as of all jobs, inputs that a task tells."""

    def change(b, j, e, r):
        b.pop("artifacts")
        b["common_permissions"] = {"anchor": 1}
        b["targets"]["prod"]["run_as"] = j.pop("run_as")
        b["resources"] = {"postgres_projects": {"p": {}}, "database_instances": {"d": {"name": "d", "capacity": "CU_1"}}}
        j.pop("environments")
        j["tasks"] = [
            {"task_key": "n", "notebook_task": {"notebook_path": "../n", "base_parameters": {"who": "${workspace.current_user.id}"}}},
            {
                "task_key": "each",
                "depends_on": [{"task_key": "n"}],
                "for_each_task": {
                    "inputs": "{{tasks.n.values.days}}",
                    "task": {
                        "task_key": "day",
                        "spark_python_task": {
                            "python_file": "../features.py",
                            "parameters": ["{{input}}", "config.yml", "--at={{task.run_id}}"],
                        },
                        "environment_key": "default",
                    },
                },
            },
        ]
        j["environments"] = [{"environment_key": "default", "spec": {"environment_version": "5"}}]

    root = small.write(tmp_path / "b", change=change)
    for name in ("n.ipynb", "features.py"):
        (root / name).touch()
    assert found(root) == []


def test_building_takes_away_old_wheels_and_nothing_else(tmp_path):
    def change(b, j, e, r):
        b["artifacts"]["wheel"]["build"] = "echo > dist/new.whl"

    root = small.write(tmp_path / "b", change=change)
    (root / "dist" / "notes.txt").touch()
    check(root, inputs=root / "local_run.yml")
    assert sorted(path.name for path in (root / "dist").iterdir()) == ["new.whl", "notes.txt"]


def test_an_artifact_in_a_folder_that_is_not_there_is_told(tmp_path):
    root = small.write(tmp_path / "b", change=lambda b, j, e, r: b["artifacts"]["wheel"].update(path="nowhere"))
    assert any("its path 'nowhere' does not exist" in f.message for f in check(root, inputs=root / "local_run.yml"))


def test_experiments_of_development_have_the_prefix_of_their_last_part(tmp_path):
    def change(b, j, e, r):
        b["resources"] = {"experiments": {"x": {"name": "${workspace.root_path}/shop"}}}

    told = resolved(read_bundle(small.write(tmp_path / "b", change=change)), "dev")
    assert told.resources("experiments")["x"]["name"].endswith("/.bundle/shop/dev/[dev someone] shop")


@pytest.fixture(scope="module")
def ours(tmp_path_factory, wheel):
    """Our own bundle with its later resources, and the wheel of this checkout."""
    root = tmp_path_factory.mktemp("ours")
    for name in ("conf", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("databricks.yml", "local_run.yml"):
        shutil.copy(ROOT / name, root / name)
    path = root / "databricks.yml"
    text = path.read_text().replace("# - conf/bundle/later", "- conf/bundle/later")
    assert text != path.read_text()
    path.write_text(text)
    (root / "dist").mkdir()
    shutil.copy(wheel, root / "dist")
    return root


def test_our_bundle_breaks_no_rule_in_any_target_with_its_later_resources_too(ours):
    told = read_bundle(ours)
    assert told.target_names == ("dev", "dev_classic", "ci", "staging", "prod")
    assert check(ours, builds=False) == []
    prod = resolved(told, "prod")
    kinds = {kind: set(resources) for kind, resources in prod.tree["resources"].items()}
    assert kinds.keys() == {"jobs", "schemas", "volumes", "registered_models", "experiments"} | {
        "model_serving_endpoints",
        "quality_monitors",
        "alerts",
    }
    for target in told.target_names:
        presets = resolved(told, target).tree.get("presets") or {}
        assert bool(presets.get("artifacts_dynamic_version")) == (told.targets[target].get("mode") == "development"), target


@pytest.mark.parametrize("runtime", runtimes())
def test_our_bundle_breaks_no_rule_on_any_runtime(ours, runtime):
    is_serverless = runtime.startswith("serverless")
    variables = {"environment_version": runtime.removeprefix("serverless-")} if is_serverless else {"spark_version": runtime}
    target = "dev" if is_serverless else "dev_classic"
    assert check(ours, builds=False, targets=[target], variables=variables) == []
    texts = set(map(str, _values(resolved(read_bundle(ours), target, variables=variables).tree["resources"])))
    assert next(iter(variables.values())) in texts


def _values(tree):
    if isinstance(tree, dict | list):
        for below in tree.values() if isinstance(tree, dict) else tree:
            yield from _values(below)
    else:
        yield tree


def test_the_canary_of_our_endpoint_is_a_matter_of_variables(ours):
    shares = {"champion_version": "3", "challenger_version": "4", "champion_traffic": "95", "challenger_traffic": "5"}
    assert check(ours, builds=False, targets=["prod"], variables=shares) == []
    told = check(ours, builds=False, targets=["prod"], variables={**shares, "challenger_traffic": "10"})
    assert [(f.rule, f.message) for f in told] == [("traffic", "shares of traffic sum to 105 (95 + 10); they must sum to 100")]


def test_our_jobs_have_what_a_job_of_ours_has_in_every_target(ours):
    told = read_bundle(ours)
    for target in told.target_names:
        for key, job in resolved(told, target).resources("jobs").items():
            assert job["queue"] == {"enabled": True}, key
            assert job["max_concurrent_runs"] == 1, key
            assert job["timeout_seconds"] > job["health"]["rules"][0]["value"] > 0, key
            assert {"email_notifications", "tags", "description", "run_as"} <= job.keys(), key
            assert "schedule" in job or key == "features_backfill", key
            for task in tasks_of(job):
                inner = task.repeated or task
                if inner.kind != "condition_task":
                    assert inner.tree["timeout_seconds"] > 0, (key, task.key)
                    assert ("environment_key" in inner.tree) != ("job_cluster_key" in inner.tree), (key, task.key)
                    assert ("job_cluster_key" in inner.tree) == (target == "dev_classic"), (key, task.key)
                if inner.kind == "python_wheel_task":
                    assert "--verbose" in inner.body["parameters"], "else the log has no version"
    for target in ("staging", "prod"):
        for kind in ("schemas", "volumes", "registered_models"):
            for resource in resolved(told, target).resources(kind).values():
                assert resource["lifecycle"] == {"prevent_destroy": True}
                assert resource["grants"]


def test_values_of_deployment_win_and_unknown_ones_are_refused(tmp_path):
    def change(b, j, e, r):
        b["targets"]["prod"]["variables"].pop("catalog")

    root = small.write(tmp_path / "b", change=change)
    assert found(root, variables={"catalog": "main"}) == []
    with pytest.raises(ConfigError, match=r"no variable 'catalogue'; did you mean 'catalog'"):
        found(root, variables={"catalogue": "main"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 30 4 * * ?", ""),
        ("0 0/15 8-18 ? * MON-FRI 2026", ""),
        ("0 0 2 L * ?", ""),
        ("0 0 2 ? * 6#3", ""),
        ("0 30 4 * * *", "exactly one of day of month and day of week must be '?'"),
        ("0 30 24 * * ?", "hours '24' is not in 0 to 23"),
        ("0 61 4 * * ?", "minutes '61'"),
        ("0 0 4 ? * FOO", "day of week 'FOO'"),
        ("0 0/0 4 * * ?", "minutes '0/0'"),
        ("? 0 4 * * ?", "seconds '?'"),
        ("", "it has 0 fields"),
    ],
)
def test_quartz_expressions_are_read_as_quartz_reads_them(text, message):
    assert message in quartz_problem(text)
    assert bool(message) == bool(quartz_problem(text))


def test_our_requirements_are_met_by_every_runtime_that_is_known():
    import re

    setup = (ROOT / "setup.py").read_text()
    told = re.search(r"install_requires=\[(.*?)\]", setup, re.S)[1]
    wheel = Wheel(ROOT, "sparkds", "0", tuple(re.findall(r'"([^"]+)"', told)), ">=3.11", {})
    assert len(wheel.requires) >= 9
    assert {runtime: unmet(wheel, runtime) for runtime in runtimes()} == {runtime: [] for runtime in runtimes()}
    assert len(runtimes()) == 6


def test_a_file_that_is_no_wheel_is_refused(tmp_path):
    (tmp_path / "x.whl").write_text("no")
    with pytest.raises(ConfigError, match="is no wheel"):
        read_wheel(tmp_path / "x.whl")
