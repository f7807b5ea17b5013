"""Every stage of the feature job: the union that YAML, schema and error messages read.

To add a stage, write one class in a module beside this one and name it here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# one line a stage, in the order of the road
from sparkds.jobs.stages.profile import ProfileStage
from sparkds.jobs.stages.register import RegisterStage
from sparkds.jobs.stages.windows import WindowsStage

AnyStage = Annotated[
    # one line a stage, in the order of the road
    ProfileStage | WindowsStage | RegisterStage,
    Field(discriminator="kind"),
]
