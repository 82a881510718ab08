"""Sales and leads, as a CRM leaves them in `revenue/data/`: what each pack sold, and how far its leads have come."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SALES, LEADS = Path("revenue/data/sales.json"), Path("revenue/data/master_leads.json")
STAGES = ("engaged", "qualified", "proposal", "purchased")  # the furthest last


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    pack: str = Field(alias="packSlug", min_length=1)


class Sale(_Row):
    """One sale of a pack."""


class Lead(_Row):
    """One lead of a pack, and its stage in the pipeline; other stages than those that are known count nothing."""

    stage: str = Field(min_length=1)


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
    """Read both files below a folder. One that is missing or no list counts as empty, an odd row as nothing; both are told."""
    problems: list[str] = []
    sold = _rows(folder / SALES, Sale, problems)
    leads = _rows(folder / LEADS, Lead, problems)
    stages: dict[str, str] = {}
    for lead in leads:
        stage, before = lead.stage.lower(), stages.get(lead.pack)
        if stage in STAGES and (before is None or STAGES.index(stage) > STAGES.index(before)):
            stages[lead.pack] = stage
    return Crm(dict(Counter(sale.pack for sale in sold)), stages, tuple(problems))


Kind = TypeVar("Kind", Sale, Lead)


def _rows(path: Path, kind: type[Kind], problems: list[str]) -> list[Kind]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problems.append(f"{path} is not there: it counts as empty")
        return []
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path} cannot be read ({error}): it counts as empty")
        return []
    if isinstance(given, dict):  # {"sales": [...]} is as common as the list alone
        lists = [value for value in given.values() if isinstance(value, list)]
        given = lists[0] if len(lists) == 1 else given
    if not isinstance(given, list):
        problems.append(f"{path} holds no list: it counts as empty")
        return []
    found, odd = [], []
    for number, row in enumerate(given, 1):
        try:
            found.append(kind.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            odd.append(f"row {number}: {'.'.join(map(str, first['loc']))} {first['msg']}")
    if odd:
        problems.append(f"{path}: {len(odd)} of {len(given)} rows count as nothing ({odd[0]})")
    return found
