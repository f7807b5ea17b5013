"""Every stage of the feature job: the union that YAML, schema and error messages read.

To add a stage, write one class in a module beside this one and name it here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sparkds.jobs.stages.generate import GenerateStage
from sparkds.jobs.stages.history import HistoryStage
from sparkds.jobs.stages.leakage import LeakageStage
from sparkds.jobs.stages.profile import ProfileStage
from sparkds.jobs.stages.register import RegisterStage
from sparkds.jobs.stages.select import SelectStage
from sparkds.jobs.stages.training_set import TrainingSetStage
from sparkds.jobs.stages.windows import WindowsStage

AnyStage = Annotated[
    ProfileStage | WindowsStage | HistoryStage | GenerateStage | TrainingSetStage | SelectStage | LeakageStage | RegisterStage,
    Field(discriminator="kind"),
]
