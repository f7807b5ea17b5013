"""The house: which room may import which, what only one room may do, and how large a room may be (DESIGN §1-3)."""

import ast
import fnmatch
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
DOMAINS = ("features", "experiments", "models", "drift", "causal")
NUMBERS = frozenset({"numpy", "scipy", "statsmodels"})


@dataclass(frozen=True)
class Row:
    """A row of the table of layers."""

    rooms: tuple[str, ...]
    rows: tuple[str, ...]
    packages: frozenset[str] = frozenset()
    packages_of: dict[str, frozenset[str]] = field(default_factory=dict)


LAYERS = {
    "0 foundation": Row(
        rooms=("sparkds", "sparkds.errors", "sparkds.declaration"),
        rows=("0 foundation",),
        packages=frozenset({"pydantic"}),
    ),
    "1 numbers": Row(
        rooms=("sparkds.days", "sparkds.stats", "sparkds.stats.*", "sparkds.features.states", "sparkds.features.windows"),
        rows=("0 foundation", "1 numbers"),
        packages=NUMBERS,
    ),
    "2 statements": Row(
        rooms=(
            *(f"sparkds.{domain}" for domain in DOMAINS),
            "sparkds.features.aggregations",
            "sparkds.features.feature_set",
            "sparkds.features.merged",
            "sparkds.features.rfm",
            "sparkds.features.schedule",
        ),
        rows=("0 foundation", "1 numbers", "2 statements"),
        packages=NUMBERS | {"pydantic"},
    ),
    "3 Spark": Row(
        rooms=(
            "sparkds.collect",
            "sparkds.blocks",
            "sparkds.features.arrow",
            "sparkds.features.rfm_scores",
            "sparkds.features.snapshots",
            "sparkds.features.tiles",
        ),
        rows=("0 foundation", "1 numbers", "2 statements", "3 Spark"),
        packages=NUMBERS | {"pydantic", "pyspark", "pyarrow", "pandas"},
        packages_of={"sparkds.models.*": frozenset({"mlflow"})},
    ),
    "4 borders": Row(
        rooms=("sparkds.config", "sparkds.tables", "sparkds.sessions"),
        rows=("0 foundation",),
        packages_of={
            "sparkds.config": frozenset({"pydantic", "yaml"}),
            "sparkds.tables": frozenset({"pyspark", "delta"}),
            "sparkds.sessions": frozenset({"pyspark", "delta"}),
        },
    ),
    "5 jobs": Row(
        rooms=("sparkds.jobs.*",),
        rows=("0 foundation", "1 numbers", "2 statements", "3 Spark", "4 borders", "jobs' status"),
        packages=NUMBERS | {"pydantic", "pyspark"},
    ),
    "jobs' status": Row(rooms=("sparkds.jobs", "sparkds.jobs.status"), rows=("0 foundation",)),
    "command line": Row(
        rooms=("sparkds.cli", "sparkds.__main__"),
        rows=("0 foundation", "4 borders", "jobs' status", "command line"),
        packages=frozenset({"click"}),
    ),
    "demo": Row(
        rooms=("sparkds.demo",),
        rows=("0 foundation", "1 numbers", "2 statements", "3 Spark", "4 borders", "command line", "datasets", "figures"),
        packages=frozenset({"pyspark", "pandas"}),
    ),
    "scripts": Row(rooms=("jobs.*",), rows=("command line",)),
    "datasets": Row(rooms=("sparkds.datasets", "sparkds.datasets.*"), rows=("0 foundation", "datasets"), packages=frozenset({"pandas"})),
    "figures": Row(
        rooms=("sparkds.figures", "sparkds.figures.*"),
        rows=("0 foundation", "figures"),
        packages=frozenset({"matplotlib", "numpy", "pandas"}),
    ),
}
"""What each room may import: rows of this table and packages. DESIGN §2; a room that is in no row fails."""

WITHOUT_SPARK = ("0 foundation", "1 numbers", "2 statements")

REFUSED = {
    "sparkContext",
    "rdd",
    "_jvm",
    "_jdf",
    "_jsc",
    "_sc",
    "_jsparkSession",
    "cache",
    "persist",
    "unpersist",
    "checkpoint",
    "localCheckpoint",
    "cacheTable",
    "accumulator",
    "createGlobalTempView",
    "createOrReplaceGlobalTempView",
}
"""Attributes of Spark that Connect or serverless compute does not have (DESIGN §3)."""

MAY_USE = {("sparkds.sessions", "sparkContext")}
"""The progress of a classic session, which only its context knows; guarded there."""

ACTIONS = {"collect", "toPandas", "toArrow", "toLocalIterator", "foreach", "foreachPartition", "first", "head", "tail", "isEmpty"}
"""Calls that bring rows to the driver. `take` is one only on a frame, and is told from numpy's and Arrow's by its number."""

NO_ROOMS = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "misc"}
LONGEST = 500


class Import(NamedTuple):
    """An import statement: what, where, and whether it stands in a function, in a method, or only for the type checker."""

    target: str
    line: int
    deferred: bool
    in_method: bool
    for_types: bool


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for folder in ("sparkds", "jobs") for path in sorted((ROOT / folder).rglob("*.py"))}

every_module = pytest.mark.parametrize("module", sorted(MODULES))


def tree_of(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(tree, modules):
    """All imports of a module; ``from package import module`` counts as the module."""
    found = []

    def walk(node, functions, classes, for_types):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                targets = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"line {child.lineno}: relative import"
                whole = [f"{child.module}.{alias.name}" for alias in child.names]
                targets = [name if name in modules else child.module for name in whole]
            else:
                targets = []
            for target in targets:
                found.append(Import(target, child.lineno, functions > 0, functions > 0 and classes > 0, for_types))
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if is_type_checking(child):
                for statement in child.body:
                    walk(ast.Module([statement], []), functions, classes, True)
                for statement in child.orelse:
                    walk(ast.Module([statement], []), functions, classes, for_types)
            else:
                walk(child, functions + is_function, classes + isinstance(child, ast.ClassDef), for_types)

    walk(tree, 0, 0, False)
    return found


def matches(module, patterns):
    return any(fnmatch.fnmatchcase(module, pattern) for pattern in patterns)


def row_of(module):
    """Row of a module: the one that names it, else the one whose pattern it fits."""
    named = [row for row, told in LAYERS.items() if module in told.rooms]
    fitting = [row for row, told in LAYERS.items() if matches(module, told.rooms)]
    rows = named or fitting
    assert rows, f"{module} stands in no row of LAYERS: give it one (DESIGN §2)"
    assert len(rows) == 1, f"{module} stands in several rows: {rows}"
    return rows[0]


def domain_of(module):
    """Domain of a module; None outside the domains."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "sparkds" and parts[1] in DOMAINS else None


def faults_of_imports(module, tree, modules):
    """Sentences about the imports of a module that the table does not allow."""
    told, faults = LAYERS[row_of(module)], []
    packages = told.packages.union(*(more for pattern, more in told.packages_of.items() if fnmatch.fnmatchcase(module, pattern)))
    for found in imports(tree, modules):
        top = found.target.split(".")[0]
        place = f"{module}, line {found.line}: imports {found.target}"
        if top == "sparkds":
            row = row_of(found.target)
            domains = {domain_of(module), domain_of(found.target)} - {None}
            hands_over = row_of(module) == "2 statements" and row == "3 Spark" and len(domains) == 1 and found.in_method
            if domain_of(module) and len(domains) > 1:
                faults.append(f"{place}, another domain")
            elif row not in told.rows and not hands_over:
                faults.append(f"{place}, which is '{row}'; '{row_of(module)}' may import {', '.join(told.rows)}")
        elif top not in sys.stdlib_module_names and top not in packages and not found.for_types:
            faults.append(f"{place}; '{row_of(module)}' may import {', '.join(sorted(packages)) or 'no package'}")
    return faults


@every_module
def test_a_room_imports_only_what_its_layer_may(module):
    assert faults_of_imports(module, tree_of(module), MODULES) == []


@pytest.mark.parametrize(
    ("module", "source", "told"),
    [
        ("sparkds.errors", "import numpy", "imports numpy"),
        ("sparkds.stats.power", "from pandas import DataFrame", "imports pandas"),
        ("sparkds.features.windows", "def f():\n    import pyspark.sql", "imports pyspark.sql"),
        ("sparkds.features.rfm", "from sparkds.config import load", "which is '4 borders'"),
        ("sparkds.features.rfm", "from sparkds.features import tiles", "which is '3 Spark'"),
        ("sparkds.features.rfm", "def f():\n    from sparkds.features import tiles", "which is '3 Spark'"),
        ("sparkds.features.rfm", "class A:\n    from sparkds.features import tiles", "which is '3 Spark'"),
        ("sparkds.features.tiles", "from sparkds.tables import Tables", "which is '4 borders'"),
        ("sparkds.features.tiles", "import sparkds.drift", "another domain"),
        ("sparkds.features.tiles", "import mlflow", "imports mlflow"),
        ("sparkds.config", "import sparkds.features.rfm", "which is '2 statements'"),
        ("sparkds.config", "import pyspark", "imports pyspark"),
        ("sparkds.cli", "from sparkds.features import rfm", "which is '2 statements'"),
        ("sparkds.jobs.drift_monitor", "import sparkds.jobs.batch_scorer", "which is '5 jobs'"),
        ("sparkds.figures.rfm", "if TYPE_CHECKING:\n    import sparkds.collect", "which is '3 Spark'"),
        ("sparkds.figures.rfm", "if TYPE_CHECKING:\n    pass\nelse:\n    import pyspark", "imports pyspark"),
        ("jobs.drift_monitor", "import sparkds.tables", "which is '4 borders'"),
    ],
)
def test_the_check_of_imports_finds_a_breach(module, source, told):
    (fault,) = faults_of_imports(module, ast.parse(source), MODULES)
    assert told in fault


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sparkds.features.feature_set", "class A:\n    def f(self):\n        from sparkds.features import tiles"),
        ("sparkds.features.feature_set", "if TYPE_CHECKING:\n    from pyspark.sql import DataFrame"),
        ("sparkds.features.tiles", "from sparkds import days, errors"),
    ],
)
def test_the_check_of_imports_allows_what_is_documented(module, source):
    assert faults_of_imports(module, ast.parse(source), MODULES) == []


def test_a_room_that_is_in_no_row_fails():
    with pytest.raises(AssertionError, match="sparkds.wing stands in no row of LAYERS: give it one"):
        row_of("sparkds.wing")


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


def owner(node):
    """First name of a dotted expression: ``functools`` of ``functools.cache``."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def refused_attributes(module, tree):
    """Attributes that Spark Connect or serverless compute refuses."""
    return [
        f"{module}, line {node.lineno}: .{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in REFUSED and (module, node.attr) not in MAY_USE and owner(node) != "functools"
    ]


def actions(module, tree):
    """Calls that bring rows to the driver."""
    found = []
    for call in calls(tree):
        attribute, place = call.func.attr, f"{module}, line {call.lineno}: .{call.func.attr}()"
        number = len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, int)
        if attribute in ACTIONS or (attribute == "take" and number):
            found.append(place)
    return found


@every_module
def test_a_room_uses_only_what_connect_and_serverless_have(module):
    assert refused_attributes(module, tree_of(module)) == []


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"sparkds.collect", "sparkds.tables"}))
def test_rows_come_to_the_driver_only_through_the_door(module):
    """`collect` is the door; `tables` reads its own metadata, a few rows of history and file names."""
    assert actions(module, tree_of(module)) == []


def words_of_the_format(module, tree):
    """Texts that name the table format to Spark: a format, a property, a path, or a statement."""
    pattern = re.compile(r"(?i)^delta$|^delta\.|\busing delta\b|\bdelta\.`|io\.delta")
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        f"{module}, line {node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented and pattern.search(node.value)
    ]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"sparkds.tables", "sparkds.sessions"}))
def test_only_the_table_border_and_the_sessions_name_the_table_format(module):
    assert words_of_the_format(module, tree_of(module)) == []


@pytest.mark.parametrize(
    ("check", "source", "finds"),
    [
        (refused_attributes, "df.sparkSession.sparkContext.broadcast(1)", ".sparkContext"),
        (refused_attributes, "df.rdd.map(f)", ".rdd"),
        (refused_attributes, "df.select('x').cache()", ".cache"),
        (refused_attributes, "f = functools.cache(g)", None),
        (refused_attributes, "self._checkpoint(day)", None),
        (actions, "df.select('x').collect()", ".collect()"),
        (actions, "df.take(1)", ".take()"),
        (actions, "column.dictionary.take(order)", None),
        (actions, "collect.small_rows(df)", None),
        (words_of_the_format, "df.write.format('delta')", "'delta'"),
        (words_of_the_format, "spark.sql(f'SELECT * FROM delta.`{path}`')", "delta.`"),
        (words_of_the_format, "{'delta.enableChangeDataFeed': 'true'}", "delta.enable"),
        (words_of_the_format, "def f():\n    'using delta'", None),
        (words_of_the_format, "'the delta between two days'", None),
    ],
)
def test_the_other_checks_find_a_breach_and_nothing_else(check, source, finds):
    found = check("sparkds.somewhere", ast.parse(source))
    assert len(found) == (finds is not None)
    assert finds is None or finds in found[0]


@every_module
def test_a_room_is_of_one_subject(module):
    n_lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert n_lines <= LONGEST, f"{module} has {n_lines} lines; above {LONGEST} it has two subjects"
    assert not NO_ROOMS & set(module.split(".")), f"{module}: name it by its field"


@every_module
def test_a_room_opens_with_what_it_is(module):
    said = ast.get_docstring(tree_of(module))
    assert said, f"{module} has no docstring"
    assert said.splitlines()[0].endswith((".", "!")) or len(said.splitlines()) > 1


def test_rows_of_the_table_name_rows_that_exist():
    for row in LAYERS.values():
        assert set(row.rows) <= set(LAYERS)


@pytest.mark.parametrize("package", ["pyspark", "delta", "yaml", "mlflow", "pandas", "matplotlib"])
@pytest.mark.parametrize("row", WITHOUT_SPARK)
def test_lower_layers_may_not_even_name_the_heavy_packages(row, package):
    assert package not in LAYERS[row].packages


def imported_in_a_fresh_process(modules, blocked):
    """Loaded modules after importing `modules` where the packages `blocked` are not installed."""
    code = (
        "import sys\n"
        f"for package in {sorted(blocked)!r}: sys.modules[package] = None\n"
        f"for module in {sorted(modules)!r}: __import__(module)\n"
        "print(*(name for name, module in sys.modules.items() if module is not None))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split()}


def test_numbers_and_statements_work_where_spark_is_not_installed():
    modules = [module for module in MODULES if row_of(module) in WITHOUT_SPARK]
    assert "sparkds.features.feature_set" in modules
    loaded = imported_in_a_fresh_process(modules, {"pyspark", "delta", "mlflow", "yaml", "pandas", "matplotlib", "pyarrow"})
    assert "numpy" in loaded


def test_numbers_and_statements_load_nothing_heavy_where_it_is_installed():
    loaded = imported_in_a_fresh_process([module for module in MODULES if row_of(module) in WITHOUT_SPARK], set())
    assert not loaded & {"pyspark", "py4j", "delta", "pandas", "pyarrow", "yaml", "mlflow", "matplotlib", "click"}


def test_borders_command_line_datasets_and_figures_can_be_imported_without_spark():
    rows = {"4 borders", "command line", "jobs' status", "datasets", "figures"}
    modules = [module for module in MODULES if row_of(module) in rows and module != "sparkds.__main__"]
    loaded = imported_in_a_fresh_process(modules, {"pyspark", "delta", "mlflow", "matplotlib", "pandas"})
    assert "click" in loaded


def test_the_package_itself_loads_nothing_but_itself():
    loaded = imported_in_a_fresh_process(["sparkds"], set())
    assert {name for name in loaded if name not in sys.stdlib_module_names and not name.startswith(("_", "sitecustomize"))} <= {"sparkds"}
