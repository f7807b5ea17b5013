"""Feature engineering pipeline for spark-submit: the command of the same name.

spark-submit --properties-file conf/spark-defaults.conf jobs/feature_engineering_pipeline.py \
    --input main.raw --output main.features --config conf/feature_engineering_pipeline.yml
"""

import sys
from pathlib import Path

try:
    from sparkds.cli import main
except ModuleNotFoundError:  # not installed: the checkout this file stands in
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from sparkds.cli import main

if __name__ == "__main__":
    sys.exit(main(["feature_engineering_pipeline", *sys.argv[1:]]))
