"""Model promoter for spark-submit: the command of the same name.

spark-submit --properties-file conf/spark-defaults.conf jobs/model_promoter.py \
    --input main.models --output main.models --config conf/model_promoter.yml
"""

import sys
from importlib.util import find_spec
from pathlib import Path

checkout = None
if find_spec("sparkds") is None:  # not installed: the checkout this file stands in
    checkout = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(checkout))

if __name__ == "__main__":
    from sparkds.cli import main

    code = main(["model_promoter", *sys.argv[1:]], checkout=checkout)
    if code:
        sys.exit(code)
