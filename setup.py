"""Metadata of the distribution; tool settings stand in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "sparkds" / "__init__.py").read_text(encoding="utf-8")).group(1)

setup(
    name="sparkds",
    version=VERSION,
    description="Batch analytics at Spark scale: rolling features into Delta tables, and what stands on them",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["sparkds", "sparkds.*"]),
    package_data={"sparkds": ["py.typed"], "sparkds.datasets": ["*.txt", "*.md", "*.yml"], "sparkds.bundle": ["*.yml"]},
    # lower bounds that Databricks Runtime 17.3 LTS and serverless environment 4 satisfy; Spark and Delta come from there
    install_requires=[
        "numpy>=1.26",
        "pandas>=2.2,<3",
        "pyarrow>=15",
        "pydantic>=2.8",
        "click>=8.1",
        "pyyaml>=6.0",
        "packaging>=24.0",
        "scipy>=1.15",
        "scikit-learn>=1.6",
        "tzdata>=2024.1",
    ],
    extras_require={
        "local": ["pyspark[connect]==4.2.0", "delta-spark==4.4.0", "mlflow==3.17.2"],
        "plots": ["matplotlib>=3.8"],
        "tune": ["optuna>=4.0"],
        "explain": ["shap>=0.46"],
        "dev": [
            "pytest>=8",
            "hypothesis>=6.100",
            "chispa==0.12.0",
            "duckdb>=1.1",
            "fairlearn>=0.12",
            "tea-tasting>=1.0",
            "lifetimes==0.11.3",
            "statsmodels>=0.14.4",
            "ruff>=0.8",
            "mypy>=1.13",
            "types-PyYAML",
            "pandas-stubs",
            "build>=1.2",
            "databricks-bundles==1.22.1",
            "setuptools>=77",
            "wheel",
        ],
    },
    entry_points={"console_scripts": ["sparkds = sparkds.cli:entry"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
    ],
)
