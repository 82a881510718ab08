"""What was found, as an answer that people read and programs take apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from learning_loop.records import Hit

NOTHING = "Nothing is known about that yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """One thing that is known, where it stands, and the executions it rests on."""

    id: str
    memory: str
    source: str
    score: float
    title: str
    category: str
    evidence: tuple[str, ...] = ()
    at: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The insights found for a question, best first; false and saying so where there are none."""

    question: str
    insights: tuple[Insight, ...]
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.insights)

    def __len__(self) -> int:
        return len(self.insights)

    def __iter__(self) -> Iterator[Insight]:
        return iter(self.insights)

    def __getitem__(self, place: int) -> Insight:
        return self.insights[place]

    def __str__(self) -> str:
        return self.markdown

    @property
    def markdown(self) -> str:
        if not self.insights:
            return NOTHING
        lines = []
        for insight in self.insights:
            when = f" ({insight.at[:10]})" if insight.at else ""
            rests = f"; rests on {', '.join(insight.evidence[:3])}" if insight.evidence else ""
            more = f" and {len(insight.evidence) - 3} more" if len(insight.evidence) > 3 else ""
            lines.append(f"- **{insight.title}**{when}\n  {insight.memory}\n  `{insight.source}`{rests}{more}")
        return "\n".join(lines)


def format_insights(question: str, hits: Sequence[Hit], warnings: Sequence[str] = ()) -> Answer:
    """Return hits as an answer: of each, the words that say most."""
    return Answer(
        question=question,
        insights=tuple(
            Insight(
                id=hit.id,
                memory=hit.text,
                source=hit.source,
                score=round(hit.score, 4),
                title=hit.title,
                category=hit.category,
                evidence=hit.evidence,
                at=hit.at.isoformat() if hit.at else None,
                outcome=hit.outcome,
            )
            for hit in hits
        ),
        warnings=tuple(warnings),
    )
