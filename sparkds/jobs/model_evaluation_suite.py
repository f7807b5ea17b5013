"""Model evaluation suite: labelled rows and models in; figures, verdicts of gates and a report out, and the champion if all gates pass.

A run pins every model and the table, scores the rows once into a table, counts them in one pass, writes rows of figures and verdicts in a
commit each, logs the report to MLflow, and promotes last; run again, it writes the same slice again.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from sparkds import __version__, document, tracking
from sparkds.errors import ColumnError, ConfigError, DataError, GateError
from sparkds.jobs import evaluation_tables, training_tables
from sparkds.jobs.evaluation_inputs import Models, TrainingFacts, evaluated_models, split_of, training_facts
from sparkds.jobs.evaluation_pictures import draw
from sparkds.jobs.status import JobResult, TableResult
from sparkds.models import registry
from sparkds.models.evaluated_rows import LABEL, PERIOD, batch_seconds, evaluated_frame, period_column, score_column, sliced_frame
from sparkds.models.evaluation import EvaluationRow, evaluation_rows, residual_rows, slice_rows
from sparkds.models.evaluation_plan import CANDIDATE, CHAMPION, EvaluationPlan
from sparkds.models.evaluation_report import Told, card, report
from sparkds.models.gates import Findings, Verdict, all_pass, judged
from sparkds.models.predictions import CODE
from sparkds.models.residual_pass import read_residuals, residuals_frame
from sparkds.models.score_pass import read_score_counts, score_counts_frame, top_values
from sparkds.models.slice_pass import Loss, read_worst_slices, slice_losses_frame
from sparkds.models.training_sample import check_keys, label_column, weight_column
from sparkds.sessions import on_databricks
from sparkds.sql import quoted
from sparkds.tables import Tables
from sparkds.tracking import Tracking

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

JOB: Final = "model_evaluation_suite"
HELP: Final = "Evaluate models on labelled rows, judge them by gates, and promote the one that passes."
LONGEST_DESCRIPTION: Final = 5000
"""Letters that a registry keeps of a version's description."""
MOST_IMPORTANT: Final = 5
"""Features in which slices are looked for, when none are named."""

LOG = logging.getLogger("sparkds")


class Config(EvaluationPlan):
    """Configuration of the job: what is evaluated, and what follows from it.

    Attributes
    ----------
    name : str
        Stem of the output tables ``<name>_scored``, ``_evaluation``, ``_gates``.
    promote : bool
        Make the judged version the champion when every gate passes.
    fail_on_gates : bool
        End with exit code 1 when a gate does not pass; else the verdict is only told, e.g. to a condition task.
    report : bool
        Write ``<name>_report/`` (Markdown, HTML, model card, pictures) beside the tables, where the output is a local directory.
    environment : {"strict", "warn"}
        What a major or minor difference of Python, MLflow, scikit-learn or numpy between a model and this place means.
    tracking : Tracking
        Where models are, and where the report is logged.
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="stem of the output tables")
    promote: bool = Field(default=True, description="make the version champion when every gate passes")
    fail_on_gates: bool = Field(default=True, description="end with exit code 1 when a gate does not pass")
    report: bool = Field(default=True, description="write the report beside the tables, where the output is a local directory")
    environment: Literal["strict", "warn"] = Field(default="strict", description="what other versions of libraries mean")
    tracking: Tracking = Field(default=Tracking(experiment="sparkds_models"), description="where models and reports are kept")

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads."""
        return (self.table,)

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job has written before."""
        return () if self.training is None else (training_tables.table_names(self.training)["splits"],)

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes."""
        return tuple(evaluation_tables.table_names(self.name).values())


def run(
    *,
    config: Config,
    input: str,
    output: str,
    spark: SparkSession,
    as_of: date | None = None,
    start: date | None = None,
    end: date | None = None,
    allow_incomplete: bool = False,
    rebuild: bool = False,
) -> JobResult:
    """Evaluate, judge and promote.

    Parameters
    ----------
    config : Config
    input, output : str
        Locations: a directory or ``catalog.schema``.
    spark : SparkSession
    as_of : date, optional
        Only rows of this day.
    start, end : date, optional
        Only rows of these days, both inclusive.
    allow_incomplete, rebuild : bool
        Without effect: rows have labels, and every run evaluates anew.

    Raises
    ------
    ColumnError, ConfigError, DataError, TableError
    GateError
        A gate does not pass, and `fail_on_gates` is set; tables and report are written.
    """
    del allow_incomplete, rebuild
    if config.day is None and (as_of or start or end):
        raise ConfigError("--as-of, --start and --end need a date column: set day in the configuration")
    store = tracking.store_of(output, uri=config.tracking.uri, on_databricks=on_databricks())
    tracking.connect(store, config.tracking.experiment)
    with TemporaryDirectory(prefix="sparkds-evaluation-") as folder:
        models = evaluated_models(config, folder=folder, store=store, spark=spark, strict=config.environment == "strict")
        job = _Run(config, Tables(spark, input), Tables(spark, output), store, models)
        days = (as_of, as_of) if as_of is not None else (start, end)
        job.evaluate(days, Path(folder))
        return job.result()


class _Run:
    """One run: pinned models, pinned rows."""

    def __init__(self, config: Config, source: Tables, output: Tables, store: tracking.Store, models: Models) -> None:
        self.config, self.output, self.store, self.models = config, output, store, models
        self.source = source
        self.names = evaluation_tables.table_names(config.name)
        self.known: TrainingFacts = training_facts(config, output, models.judged)
        self.uri = models.judged.uri if models.judged is not None else config.name_judged
        self.warnings = list(models.warnings)
        if config.gates is None and not config.groups:
            self.warnings.append("no group is declared, so the default gates leave fairness out; name groups to judge it")
        self.thresholds = config.thresholds or (self._own_threshold(),)
        self.written: dict[str, int] = {}
        self.sections: dict[str, Any] = {}
        self.n_rows = 0

    def _own_threshold(self) -> float:
        told = self.models.tags.get("sparkds.threshold", "None")
        return 0.5 if told in ("None", "null") else float(told)

    def evaluate(self, days: tuple[date | None, date | None], folder: Path) -> None:
        """Score, count, judge, write, log, promote."""
        frame, told = self._rows(days)
        evaluation = registry.identity_of(
            {
                "models": {name: version.uri for name, version in self.models.versions.items()},
                "rows": told,
                "definition": self.config.model_dump(
                    mode="json", exclude={"name", "model", "champion", "compared", "promote", "fail_on_gates", "report", "tracking", "card"}
                ),
                "package": __version__,
            }
        )
        scored = self._scored(frame, evaluation, told)
        rows = self._figures(scored)
        verdicts = judged(self.config.gates_judged, self._findings(rows, frame))
        self._write("evaluation", evaluation, rows, verdicts, told)
        passed = all_pass(verdicts)
        facts = self._facts(told, evaluation)
        what = self._promotion(passed)
        into = Path(self.output.path(f"{self.config.name}_report").removeprefix("file:")) if self._keeps_report else folder / "report"
        into.mkdir(parents=True, exist_ok=True)
        files = self._document(rows, verdicts, facts, what, into)
        run_id = self._log(evaluation, rows, verdicts, files, into)
        promoted = passed and what.startswith("It becomes")
        if promoted and self.models.judged is not None:
            registry.promote(self.models.judged.name, self.models.judged.version)
        self.sections |= {
            "gates": {
                "passed": passed,
                "promoted": promoted,
                "failed": [v.gate for v in verdicts if v.status == "fail"],
                "not_computable": [v.gate for v in verdicts if v.status == "not_computable"],
            },
            "evaluation": evaluation,
            "run_id": run_id,
            "report": str(into / "report.html") if self._keeps_report else None,
        }
        if not passed and self.config.fail_on_gates:
            odd = "; ".join(f"{v.gate} ({v.status.replace('_', ' ')}: {v.reason})" for v in verdicts if v.status != "pass")
            where = f"; report: {into / 'report.html'}" if self._keeps_report else f"; report: run {run_id} of MLflow"
            raise GateError(f"model {self.uri} does not pass its gates: {odd or 'none are declared'}{where}")

    @property
    def _keeps_report(self) -> bool:
        return self.config.report and self.output.is_local

    def _rows(self, days: tuple[date | None, date | None]) -> tuple[DataFrame, dict[str, Any]]:
        """Rows to evaluate with label and period, and what they are."""
        from pyspark.sql import functions as F

        config = self.config
        splits: DataFrame | None = None
        told: dict[str, Any] = {"table": config.table}
        if config.training is not None:
            name, version = split_of(config, self.output, self.models.judged)
            splits = self.output.read(name).where("split = 'test'").select(*map(quoted, config.keys))
            told |= {"version": version, "part": f"test part of '{name}'"}
        else:
            told |= {"version": self.source.source_version(config.table), "part": "all rows"}
        declared = None if config.columns is None else ", ".join(f"{quoted(name)} {dtype}" for name, dtype in config.columns.items())
        pinned = int(told["version"]) if told["version"].isdecimal() else None
        frame = self.source.read(config.table, version=pinned, schema=declared)
        types = dict(frame.dtypes)
        for name in (*config.keys, *config.group_columns, *config.scores.values(), *([config.day] if config.day else [])):
            if name not in types:
                raise ColumnError.missing(name, types, f"table '{config.table}'")
        weight_column(frame, config.weight)
        frame = frame.withColumn(LABEL, label_column(frame, config.label, config.task, config.positive))
        if config.period is not None:
            frame = frame.withColumn(PERIOD, period_column(frame, config.period.time, config.period.by))
        if splits is not None:
            frame = frame.join(splits, list(config.keys), "left_semi")
        if config.day is not None and days != (None, None):
            if types[config.day] != "date":
                raise ColumnError(f"day '{config.day}' of table '{config.table}' is {types[config.day]}; it must be a date")
            day = F.col(quoted(config.day))
            for bound, condition in zip(days, (day >= F.lit(days[0]), day <= F.lit(days[1])), strict=True):
                frame = frame if bound is None else frame.where(condition)
            told["part"] = f"{config.day} from {days[0] or 'the first day'} to {days[1] or 'the last'}"
        return frame, told

    def _slice_columns(self) -> tuple[str, ...]:
        """Columns in which slices are looked for: those declared, or the most important features and the groups."""
        if self.config.slices is None:
            return ()
        if self.config.slices.columns is not None:
            return self.config.slices.columns
        important = [row["feature"] for row in self.known.importance if row["importance"] > 0][:MOST_IMPORTANT]
        return tuple(dict.fromkeys([*self.config.group_columns, *important]))

    def _scored(self, frame: DataFrame, evaluation: str, told: Mapping[str, Any]) -> DataFrame:
        """Rows with the score of every model, in a table: the models run once, whatever is asked of the result."""
        from pyspark.sql import functions as F

        config = self.config
        slices = self._slice_columns()
        for name in slices:
            if name not in frame.columns:
                raise ColumnError.missing(name, frame.columns, f"table '{config.table}'")
        check_keys(frame, config.keys)
        period = [PERIOD] if config.period is not None else []
        weight = [config.weight] if config.weight is not None else []
        carry = dict.fromkeys([*config.keys, *config.group_columns, *slices, *period, *weight, *config.scores.values(), LABEL])
        scored = evaluated_frame(frame, self.models.scorers, carry=list(carry), table=config.table)
        given = [F.col(quoted(column)).cast("double").alias(score_column(name)) for name, column in config.scores.items()]
        scored = scored.select("*", *given)
        facts = {"job": JOB, "identity": evaluation, "rows": dict(told)}
        spec = evaluation_tables.scored_spec(config.keys)
        commit = self.output.replace(self.names["scored"], scored, rows=None, metadata=facts, spec=spec, evolve=True)
        self.written["scored"] = commit.rows or 0
        self.n_rows = commit.rows or 0
        if not self.n_rows:
            raise DataError(f"there is no row to evaluate in table '{config.table}' ({told['part']})")
        return self.output.read(self.names["scored"], version=commit.version).select(*map(quoted, scored.columns))

    @property
    def _score_columns(self) -> dict[str, str]:
        return {name: score_column(name) for name in (*(one.name for one in self.models.scorers), *self.config.scores)}

    def _figures(self, scored: DataFrame) -> list[EvaluationRow]:
        """Rows of all figures: one pass for counts, one for slices."""
        config, scores = self.config, self._score_columns
        mine = config.name_judged
        self._tell_failures(scored)
        groups = [*config.groups, *([PERIOD] if config.period is not None else [])]
        shown = top_values(scored, config.group_columns)
        if config.task == "binary":
            counts = score_counts_frame(
                scored,
                label=LABEL,
                scores=scores,
                groups=groups,
                shown=shown,
                pairs=[(mine, other) for other in scores if other != mine],
                weight=config.weight,
                thresholds=self.thresholds,
                bins=config.bins,
            )
            evidence = read_score_counts(counts, label=config.label, weight=config.weight)
            fair = [" × ".join(group) if isinstance(group, tuple) else group for group in config.groups]
            rows = evaluation_rows(
                evidence,
                thresholds=self.thresholds,
                alpha=config.alpha,
                n_groups=config.n_groups,
                least=config.least,
                costs=None if config.cost is None else (config.cost.false_positive, config.cost.false_negative),
                fair=fair,
                replicates=config.replicates,
                seed=config.seed,
            )
        else:
            sums = residuals_frame(
                scored, label=LABEL, predictions=scores, groups=groups, shown=shown, weight=config.weight, shares=config.quantiles
            )
            found = read_residuals(sums, shares=config.quantiles, weight=config.weight)
            rows = list(residual_rows(found.states, found.skipped, n_groups=config.n_groups))
        if not any(row.kind == "rows" and row.name == "scored" and row.model == mine and not row.group and row.value for row in rows):
            raise DataError(f"no row of '{config.table}' has a label and a score of '{mine}'; nothing can be said of it")
        return rows + self._worst_slices(scored, rows)

    def _tell_failures(self, scored: DataFrame) -> None:
        from pyspark.sql import functions as F

        from sparkds import collect

        errors = [F.count(F.col(quoted(f"{CODE}_{one.name}"))).alias(f"n{i}") for i, one in enumerate(self.models.scorers)]
        if errors:
            n = collect.one_row(scored.agg(*errors))
            self.warnings += [
                f"model '{one.name}' fails on {n[f'n{i}']} rows, which are in no figure of it; look at column {CODE}_{one.name}"
                for i, one in enumerate(self.models.scorers)
                if n[f"n{i}"]
            ]

    def _worst_slices(self, scored: DataFrame, rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
        config, columns = self.config, self._slice_columns()
        if config.slices is None or not columns:
            return []
        mine = config.name_judged
        loss: Loss = "squared_error"
        if config.task == "binary" and any(row.kind == "calibration" and row.model == mine for row in rows):
            loss = "log_loss"
        parts = sliced_frame(scored.select(LABEL, score_column(mine), *map(quoted, columns)), columns, bins=config.slices.bins)
        frame = slice_losses_frame(
            parts, label=LABEL, score=score_column(mine), columns=columns, shown=top_values(parts, columns), loss=loss
        )
        worst = read_worst_slices(frame, least=config.slices.least, alpha=config.alpha, most=config.slices.most)
        return list(slice_rows(mine, worst, loss=loss.replace("_", " ")))

    def _findings(self, rows: Sequence[EvaluationRow], frame: DataFrame) -> Findings:
        config, known = self.config, self.known
        mine = next((one for one in self.models.scorers if one.name == CANDIDATE), None)
        latency = config.latency
        seconds = [] if mine is None else batch_seconds(frame, mine, rows=latency.rows, batches=latency.batches)
        open_findings = (
            None
            if known.leakage is None
            else [text for feature, text in known.leakage.items() if feature not in config.closed_findings or not feature]
        )
        return Findings(
            model=config.name_judged,
            rows=rows,
            champion=CHAMPION if CHAMPION in self.models.versions else "",
            baselines=self.models.baselines,
            train=known.figures("train"),
            validation=known.figures("validation"),
            importance=known.positive_importance,
            selected=config.selected or known.above_noise,
            retrained_equal=known.retrained_equal,
            batch_seconds=seconds,
            has_signature=None if mine is None else True,  # a model without one has been refused
            open_leakage_findings=open_findings,
        )

    def _write(
        self, what: str, evaluation: str, rows: Sequence[EvaluationRow], verdicts: Sequence[Verdict], told: Mapping[str, Any]
    ) -> None:
        spark = self.output.spark
        facts = {"job": JOB, "identity": evaluation, "rows": dict(told), "model": self.uri}
        for name, values, schema, spec in (
            (what, evaluation_tables.evaluation_values(evaluation, self.uri, rows), evaluation_tables.EVALUATION_SCHEMA,
             evaluation_tables.evaluation_spec()),
            ("gates", evaluation_tables.gate_values(evaluation, self.uri, verdicts), evaluation_tables.GATE_SCHEMA,
             evaluation_tables.gates_spec()),
        ):  # fmt: skip
            frame = spark.createDataFrame(values, schema)
            commit = self.output.replace(self.names[name], frame, rows={"evaluation": [evaluation]}, metadata=facts, spec=spec)
            self.written[name] = commit.rows or 0

    def _facts(self, told: Mapping[str, Any], evaluation: str) -> dict[str, str]:
        facts = {"model": self.uri, "table": f"{told['table']}, version {told['version']}", "rows": f"{told['part']} ({self.n_rows:,})"}
        others = {name: version.uri for name, version in self.models.versions.items() if name != CANDIDATE}
        facts |= dict(others.items())
        facts |= {name: f"column {column}" for name, column in self.config.scores.items()}
        if self.config.task == "binary":
            facts["thresholds"] = ", ".join(f"{threshold:g}" for threshold in self.thresholds)
        return {**facts, "evaluation": evaluation, "sparkds": __version__}

    def _promotion(self, passed: bool) -> str:
        """What becomes of the aliases, as a sentence."""
        version = self.models.judged
        if version is None or not version.name:
            return "It is no registered model, so that there is nothing to promote."
        if not passed:
            return f"{version.uri} is not promoted."
        if not self.config.promote:
            return f"{version.uri} is not promoted, as the configuration says."
        return f"It becomes the champion: {version.uri}."

    def _document(
        self, rows: Sequence[EvaluationRow], verdicts: Sequence[Verdict], facts: Mapping[str, str], promotion: str, into: Path
    ) -> list[str]:
        """Write report and card with their pictures; their files."""
        config = self.config
        pictures = draw(config, rows, self.thresholds, training=self.known.metrics, importance=self.known.importance, folder=into)
        told = Told(
            title=f"Evaluation of {self.uri}",
            rows=rows,
            verdicts=verdicts,
            facts=facts,
            training=self.known.metrics,
            importance=self.known.importance,
            warnings=self.warnings,
            promotion=promotion,
            pictures=pictures,
        )
        blocks, of_card = report(config, told), card(config, told, tags=self.models.tags)
        (into / "report.md").write_text(document.markdown(blocks), encoding="utf-8")
        (into / "report.html").write_text(document.html(told.title, blocks, into), encoding="utf-8")
        (into / "model_card.md").write_text(document.markdown(of_card), encoding="utf-8")
        return ["report.md", "report.html", "model_card.md", *(one.file for section in pictures.values() for one in section)]

    def _log(self, evaluation: str, rows: Sequence[EvaluationRow], verdicts: Sequence[Verdict], files: Sequence[str], into: Path) -> str:
        """Log figures, report and card; the card becomes the description of the version."""
        import mlflow

        version = self.models.judged
        tags = {"job": JOB, "evaluation": evaluation, "model": self.uri, "gates": "pass" if all_pass(verdicts) else "fail"}
        name = f"evaluate {self.uri}"
        with tracking.tracked(self.store, self.config.tracking.experiment, name=name, tags=tags, identity=f"{JOB}/{evaluation}") as run:
            figures = {
                f"{row.model}.{row.name}": row.value for row in rows if row.kind == "metric" and not row.group and math.isfinite(row.value)
            }
            mlflow.log_metrics(figures)
            mlflow.log_text(self.config.model_dump_json(indent=2), "definition.json")
            mlflow.log_text(json.dumps([v.__dict__ for v in verdicts], indent=2, default=str), "gates.json")
            for file in files:
                mlflow.log_artifact(str(into / file), artifact_path="report")
            run_id: str = run.info.run_id
        if version is not None and version.name:
            text = (into / "model_card.md").read_text(encoding="utf-8")
            if len(text) > LONGEST_DESCRIPTION:
                pointer = f"\n\n… the whole card is model_card.md in run {run_id}.\n"
                text = text[: LONGEST_DESCRIPTION - len(pointer)] + pointer
            mlflow.MlflowClient().update_model_version(version.name, str(version.version), description=text)
        return run_id

    def result(self) -> JobResult:
        """What the run did."""
        tables = [TableResult(name, self.output.version(name), self.written.get(what, 0)) for what, name in self.names.items()]
        gates = self.sections["gates"]
        values = {
            "gates_passed": gates["passed"],
            "promoted": gates["promoted"],
            "evaluation": self.sections["evaluation"],
            "model": self.uri,
        }
        return JobResult(self.n_rows, tables, self.warnings, {"model": self.uri, **self.sections, "package": __version__}, values)
