"""Sales and leads, as a CRM leaves them in `revenue/data/`: what each pack sold, and how far its leads have come."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

SALES, LEADS = Path("revenue/data/sales.json"), Path("revenue/data/master_leads.json")
STAGES = ("engaged", "qualified", "proposal", "purchased")  # the furthest last


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    pack: str = Field(alias="packSlug", min_length=1)


class Sale(_Row):
    """One sale of a pack."""


class Lead(_Row):
    """One lead of a pack, and its stage in the pipeline; other stages than those that are known count nothing."""

    stage: str


@dataclass(frozen=True, slots=True)
class Crm:
    """How many sales each pack had and the furthest stage of its leads; `problems` say what could not be read."""

    sales: dict[str, int] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def values(self, pack: str | None) -> dict[str, float | str | None]:
        """Return what rewards ask of a pack: `crm.sales` and `crm.stage`; a pack that is in no list sold nothing."""
        return {"crm.sales": float(self.sales.get(pack or "", 0)), "crm.stage": self.stages.get(pack or "", "none")}


def read_crm(folder: Path) -> Crm:
    """Read both files below a folder. One that is missing, or is no list of what it should be, counts as empty and is told."""
    problems: list[str] = []
    sold = _rows(folder / SALES, TypeAdapter(list[Sale]), problems)
    leads = _rows(folder / LEADS, TypeAdapter(list[Lead]), problems)
    stages: dict[str, str] = {}
    for lead in leads:
        before = stages.get(lead.pack)
        if lead.stage in STAGES and (before is None or STAGES.index(lead.stage) > STAGES.index(before)):
            stages[lead.pack] = lead.stage
    return Crm(dict(Counter(sale.pack for sale in sold)), stages, tuple(problems))


def _rows(path: Path, kind: TypeAdapter[Any], problems: list[str]) -> list[Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problems.append(f"{path} is not there: it counts as empty")
        return []
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path} cannot be read ({error}): it counts as empty")
        return []
    if isinstance(given, dict) and len(given) == 1:  # {"sales": [...]} is as common as the list alone
        given = next(iter(given.values()))
    try:
        found: list[Any] = kind.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        problems.append(f"{path} is not as it should be ({place or 'its whole'}: {first['msg']}): it counts as empty")
        return []
    return found
