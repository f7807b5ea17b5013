"""A small bundle that breaks no rule, from which every failing example differs in one place."""

import copy
import zipfile
from pathlib import Path

import yaml

WHEEL = "shop-1.0-py3-none-any.whl"
BUNDLE = {
    "bundle": {"name": "shop"},
    "include": ["conf/*.yml"],
    "variables": {"catalog": {"description": "of all tables"}, "raw": {"default": "/Volumes/${var.catalog}/raw/landing"}},
    "artifacts": {"wheel": {"type": "whl", "path": ".", "build": "true"}},
    "targets": {
        "dev": {"mode": "development", "default": True, "variables": {"catalog": "dev"}},
        "prod": {
            "mode": "production",
            "workspace": {"root_path": "/Workspace/Shared/shop"},
            "permissions": [{"level": "CAN_VIEW", "group_name": "readers"}],
            "variables": {"catalog": "prod"},
        },
    },
}
FEATURES = [
    "feature_engineering_pipeline",
    "--input=${var.raw}",
    "--output={{job.parameters.catalog}}.shop_${bundle.target}",
    "--config=${workspace.file_path}/features.yml",
]
JOB = {
    "name": "daily",
    "run_as": {"service_principal_name": "robot"},
    "schedule": {"quartz_cron_expression": "0 30 4 * * ?", "timezone_id": "Europe/Berlin"},
    "parameters": [{"name": "catalog", "default": "${var.catalog}"}],
    "environments": [{"environment_key": "default", "spec": {"environment_version": "5", "dependencies": ["../dist/*.whl"]}}],
    "tasks": [
        {
            "task_key": "features",
            "environment_key": "default",
            "python_wheel_task": {"package_name": "sparkds", "entry_point": "sparkds", "parameters": FEATURES},
        },
        {
            "task_key": "months",
            "depends_on": [{"task_key": "features"}],
            "for_each_task": {
                "inputs": '[{"start": "1997-07-01"}]',
                "task": {
                    "task_key": "month",
                    "environment_key": "default",
                    "python_wheel_task": {
                        "package_name": "sparkds",
                        "entry_point": "sparkds",
                        "parameters": [*FEATURES, "--start={{input.start}}"],
                    },
                },
            },
        },
    ],
}
ENDPOINT = {
    "name": "shop",
    "config": {
        "served_entities": [{"name": "champion", "entity_name": "${var.catalog}.shop_${bundle.target}.m", "entity_version": "1"}],
        "traffic_config": {"routes": [{"served_entity_name": "champion", "traffic_percentage": 100}]},
    },
}
LOCAL_RUN = {"inputs": [{"location": "${var.raw}", "table": "transactions", "dataset": "cdnow.transactions"}]}


def write(root: Path, *, change=None, requires=("numpy>=1.26",), entry="sparkds") -> Path:
    """The bundle in a folder, after `change` has altered (bundle, job, endpoint, local run) in place; a wheel is in dist/."""
    bundle, job, endpoint, local = (copy.deepcopy(told) for told in (BUNDLE, JOB, ENDPOINT, LOCAL_RUN))
    if change is not None:
        change(bundle, job, endpoint, local)
    (root / "conf").mkdir(parents=True)
    (root / "databricks.yml").write_text(yaml.safe_dump(bundle, sort_keys=False))
    (root / "conf" / "daily.yml").write_text(yaml.safe_dump({"resources": {"jobs": {"daily": job}}}, sort_keys=False))
    (root / "conf" / "shop.yml").write_text(yaml.safe_dump({"resources": {"model_serving_endpoints": {"shop": endpoint}}}, sort_keys=False))
    (root / "local_run.yml").write_text(yaml.safe_dump(local, sort_keys=False))
    (root / "features.yml").write_text(
        "source: transactions\nkeys: [customer_id]\nevent_time: date\ntime_zone: UTC\nwindows: [7]\naggregations: [{kind: count}]\n"
    )
    wheel(root / "dist", requires=requires, entry=entry)
    return root


def wheel(folder: Path, *, name="sparkds", requires=(), entry="sparkds", python="", module="cli") -> Path:
    """A wheel with metadata and one empty module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        told = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {one}" for one in requires)]
        told += [f"Requires-Python: {python}"] if python else []
        packed.writestr(f"{name}/{module}.py", "")
        packed.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", *told]) + "\n")
        packed.writestr(f"{name}-1.0.dist-info/entry_points.txt", f"[console_scripts]\n{entry} = {name}.cli:entry\n")
    return path
