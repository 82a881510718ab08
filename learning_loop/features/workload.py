"""What a task asks for, as a policy sees it: type, domain, complexity, risk and the like, read from its text where not given.

Deterministic, by tables of cues. `VERSION` stands with every decision that rests on it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

VERSION = "workload/1"

TYPES = (
    "feature", "bug", "refactor", "test", "docs", "performance", "security",
    "deployment", "configuration", "migration", "research", "review", "maintenance",
)  # fmt: skip
DOMAINS = ("frontend", "backend", "database", "devops", "security", "testing", "documentation", "data", "mobile")
COMPLEXITIES = ("simple", "medium", "complex")
RISKS = ("low", "medium", "high")

_TYPE_CUES = {
    "feature": r"add(ed|s|ing)?|implement\w*|support\w*|introduc\w+|creat\w+|allow\w*|enabl\w+|new|build|provid\w+|expos\w+|feature|extend\w*|let|offer|we'?d like|want|opt out|opt in|be able to|as an? \w+|must be|weekly|digest|let (users|people|customers)|button (to|for|that)|customers (want|ask)|filter by|sort by|export (to|as)|import (from|of)|share|notif\w+|dark mode|self[- ]service|search (by|for|across)|bulk|invite|schedule (a|reports)|so that (they|users|people|customers|we|it)",
    "bug": r"fix\w*|bugs?|crash\w*|error\w*|broken|fail(s|ed|ing|ure)?|wrong\w*|incorrect\w*|issue|regress\w+|repair|resolv\w+|correct(ed|s|ly)?|prevent\w*|handl\w+|leak\w*|hang\w*|avoid\w*|missing|ensure|don'?t|not working|stop(s|ped)? working|traceback|exception|404|500|null|drops?|cover(s|ed) the|disappear\w*|doesn'?t|does not|isn'?t|can'?t|cannot|won'?t|no longer|twice|stuck|blank|empty|since (mon|tues|wednes|thurs|fri|satur|sun|the|last|yester)\w*|reload|half of|instead of|sometimes|off by one|never (arrive|finish|come)\w*|customers (see|report|get|say)|users (see|report|get|say)|shows? (the )?(old|wrong|yesterday)\S*|lost|flicker\w*|freez\w+|swallow\w*|random\w*|intermittent\w*|complain\w*|overlap\w*|cut off",
    "refactor": r"refactor\w*|clean(up|ing|ed)?|clean up|simplif\w+|restructur\w+|renam\w+|extract\w*|reorgani[sz]\w+|mov(e|ed|ing)|dedupl\w+|split|inline\w*|tid(y|ied)|moderni[sz]\w+|unus\w+|rewrite|use [\w.]+ instead|replac\w+|remov\w+|annotat\w+|typ(e|ed|ing) hints?|format\w*|style|lint\w*|decompos\w+|untangl\w+|collapse|near identical|make a module|god (object|class)|proper modules|duplicat\w+|in circles|same (query|code|logic)|pull .{1,30} out|spaghetti|convert class|one place|break up|too (big|long) (a )?(file|class|function)|copy[- ]?pasted?|dead code|shared (module|helper|library|component)|\d+ lines|naming|instead of (five|four|three|two|\d+)|swap .{1,30} for",
    "test": r"tests?|testing|unittests?|pytest|coverage|e2e|fixtures?|mock\w*|assert\w*|test cases?|test suites?|regression tests?|snapshots?|cases? for|smoke|property based|playwright|cypress|assertions?|scenarios|drill|load test\w*|nothing checks|contract tests?|branch coverage|checks? (for|on|that)|automated checks?|mutation|golden files?|flaky|test data|fuzz\w*",
    "docs": r"docs?|document\w*|readme|changelog|typos?|guides?|tutorials?|docstrings?|comments?|spelling|grammar|wiki|examples?|faq|manual|explain\w*|screenshots?|wording|badges?|write down|onboarding|describe\w*|how to|release notes|runbooks?|glossary|diagram\w*|help cent(re|er)|knowledge base|api reference|handbook|walk(s)? through|article|write (a |the |an )|outdated (page|section)|cheat ?sheet",
    "performance": r"perf\w*|speed\w*|faster|slow\w*|optimi[sz]\w+|latency|throughput|cach(e|ing|ed)|memory usage|cpu|profil(e|ing)|bottleneck\w*|n\+1|lazy|lazily|takes? (about |over |more than |up to )?\d+\s?(s|secs?|seconds?|ms|min\w*|hours?)|seconds|times? out|stutter\w*|frames drop|lag\w*|sluggish|cold start|lcp|p9[59]|too long|pre-aggregat\w*|full table scans?|spinner|page load|hot path|memory (grows|footprint)|battery|bundle size|below \d\S*|half the time|load time|re-?renders?",
    "security": r"secur\w+|vulnerab\w+|cve\S*|xss|csrf|sql injection|injection|secrets?|encrypt\w*|sanitiz\w+|sanitis\w+|harden\w*|exploit\w*|credential\w*|permissions? check|privilege\w*|attack\w*|mask\w*|as root|world readable|rate limit login|strip script|another tenant|public bucket|csrf|escalat\w+|expos(ed|es|ing)|brute|hijack\w*|spoof\w*|untrusted|gets executed|leaked|pen ?test\w*|2fa|mfa|signed urls?|plain ?text|tokens? (in|to|are)|least privilege|redact\w*|by changing the id|password\w*|session fixation|pii|open redirect|cookie flags?|who can",
    "deployment": r"deploy\w*|release\w*|rollout|roll out|publish\w*|ship|pipeline\w*|ci|cd|ci/cd|docker\w*|kubernetes|k8s|helm|terraform|workflows?|github actions?|actions/[\w-]+|staging|build system|runners?|provision\w*|infrastructure|install script|packag(e|ing)|wheel|submit build|staged|testflight|app store|stand up|region|canary|blue[- ]green|go live|build for|prod(uction)? cluster|install\w* on|release train|store listing|promote .{0,20}(to|build)|build \d+|pre-?prod|cutover|phased|tag and",
    "configuration": r"config\w*|settings?|env(ironment)? variables?|environment vars?|feature flags?|flags?|yaml|toml|timeouts?|defaults?|options?|toggle\w*|tune|thresholds?|pre-commit|limits?|origin|cors|log level|env vars?|keys per|should use|raise the|lower the|retention|schedule|quota|increase .{0,30}(limit|timeout|size)|pool size|turn(ed)? (on|off)|switch(ed)? (on|off)|per environment|endpoint url|time ?zone|dns|ttl|allow-?list|replicas|cron expression|ignore the generated",
    "migration": r"migrat\w+|upgrade from|port(ed|ing)? (to|from)|convert\w*|backfill\w*|schema change|switch\w* (to|from)|transition\w*|import (old|legacy|existing)|move to|drop support|end of life|deprecat\w+|\w+ v?\d[\d.]* (to|→|->) v?\d\S*|→|->|leave the old|mapped onto|off (of )?(the )?old|on-prem\w*|old data cent(re|er)|cut ?over|decommission\w*|legacy|replatform\w*|to the new (schema|system|platform|cluster|provider|format|account)|move .{1,40} to",
    "research": r"research\w*|investigat\w+|explor\w+|evaluat\w+|spike|prototype|proof of concept|poc|compar\w+|analy[sz]\w+|find out|study|feasib\w+|benchmark\w*|assess\w*|look into|which \w+ (should|would)|what would|how do (others|we)|why do|can we|should we|is it worth|worth it|options|hypothes[ie]s|write up|pros and cons|trade-?offs?|first look|what it (would )?(take|cost)s?|recommendation|estimate|survey|understand (why|how)|alternatives|shortlist|experiment\w*",
    "review": r"review\w*|audit\w*|feedback on|approve|check (the )?(pr|pull request|code|design)|inspect\w*|second look|sign off|code quality|post-?mortem|walk through|look over|second pair of eyes|have a read|go over|go through|proofread|merge request|pull request|pr|agree with|double[- ]check|sign[- ]?off|approv\w+|flag what|assess\w*|sanity check|read (their|the|through)|critique|walkthrough|findings|opinion|comment on|questionnaire",
    "maintenance": r"bump\w*|updat\w+|upgrad\w+|dependenc\w+|dependabot|deps|chore|housekeeping|pin|requirement|lockfile|lock file|version|renovate|maintenance|rotate|from [\d.]+ to [\d.]+|licen[cs]e|gitignore|unused|dead|run out|expir\w+|renew\w*|certs?|yearly|quarterly|tidy up|vacuum\w*|rebuild|archiv\w+|clean out|end of support|prun\w+|purg\w+|stale|old (branches|images|logs|backups|feature flags)|can go|bloated|outdated|patch level|eol|security patches|base images?|remove what",
}  # fmt: skip
_LEADING = {  # what a task begins with says most
    "feature": r"add|adds|added|implement\w*|introduc\w+|creat\w+|support|allow|enable|provide|expose|extend|let|offer|build|make it possible|generate|show|display|include",
    "bug": r"fix\w*|repair|resolve\w*|correct|prevent|handle|avoid|ensure|don'?t|debug|stop|restore|do not|make sure|properly|catch|ignore|raise|escape|revert|use correct",
    "refactor": r"refactor\w*|clean\w*|simplify|restructure|rename|extract|reorgani[sz]e|move|deduplicate|split|inline|tidy|moderni[sz]e|remove|replace|rewrite|unify|merge|annotate|make|reduce|use|format|lint|decouple|consolidate|drop unused|apply",
    "test": r"test|tests|cover|increase coverage|mock|unit tests?|verify",
    "docs": r"document|docs?|describe|explain|write (a |the )?(guide|documentation|docs|readme|tutorial)|clarify|reword|typo|proofread|readme|mention",
    "performance": r"optimi[sz]e|speed up|cache|profile|accelerate|make .{0,40}faster|reduce (the )?(latency|memory|time|load)",
    "security": r"secure|harden|encrypt|sanitize|sanitise|patch|rotate (the )?(keys?|secrets?|credentials)",
    "deployment": r"deploy|release|publish|ship|roll out|provision|dockeri[sz]e|set up (the )?(ci|pipeline|infrastructure)|containeri[sz]e",
    "configuration": r"configure|set|tune|toggle|adjust|turn (on|off)|switch on|switch off|change (the )?(default|setting|timeout|limit)",
    "migration": r"migrate|port|convert|backfill|switch|transition|deprecate|drop support",
    "research": r"research|investigate|explore|evaluate|prototype|compare|analy[sz]e|find out|study|assess|look into|benchmark|figure out",
    "review": r"review|audit|inspect|approve|check",
    "maintenance": r"bump|update|upgrade|pin|refresh|chore|version",
}  # fmt: skip
_DOMAIN_CUES = {
    "frontend": r"ui|ux|frontend|front-end|css|html|react|vue|angular|button\w*|forms?|modals?|layout|responsive|dark mode|browser\w*|javascript|typescript|component|navbar|tooltips?|page|widgets?|sidebar|checkout page|svelte|accessib\w+|dropdown|menu|landing page|dashboard",
    "backend": r"api|apis|backend|back-end|server\w*|endpoints?|services?|rest|graphql|grpc|microservices?|queue\w*|webhooks?|middleware|handlers?|controllers?|http|session\w*|worker\w*|business logic|rate limit\w*|cron|background job\w*|payment\w*|auth\w*",
    "database": r"database\w*|db|sql|postgres\w*|mysql|sqlite|mongo\w*|redis|quer(y|ies)|schema\w*|index(es)? on|tables?|orm|transactions?|foreign keys?|columns?|deadlock\w*|replica\w*|stored procedure",
    "devops": r"ci|cd|ci/cd|docker\w*|kubernetes|k8s|helm|terraform|deploy\w*|pipeline\w*|infrastructure|aws|gcp|azure|monitoring|alert\w*|prometheus|grafana|nginx|github actions?|workflows?|ansible|build server|release\w*|cluster\w*|log rotation|backup\w*|runners?",
    "security": r"secur\w+|vulnerab\w+|cve\S*|xss|csrf|injection|oauth\w*|authenticat\w+|authori[sz]\w+|jwt|tokens?|passwords?|encrypt\w*|secrets?|permissions?|tls|ssl|certificate\w*|sso|2fa|mfa|login\w*|audit log",
    "testing": r"tests?|testing|pytest|coverage|e2e|fixtures?|mock\w*|flaky|unit tests?|integration tests?|qa|test suite|selenium|playwright|cypress",
    "documentation": r"docs?|document\w*|readme|changelog|guides?|tutorials?|docstrings?|comments?|wiki|typos?|faq|manual",
    "data": r"data|dataset\w*|etl|pipeline for|analytics|machine learning|ml|model training|train\w* (a |the )?model|features? store|spark|airflow|warehouse|pandas|reports?|csv|parquet|statistic\w*|embedding\w*|ingest\w*|forecast\w*|metrics|scrap\w+|recommend\w+",
    "mobile": r"mobile|ios|android|swift|kotlin|react native|flutter|app store|play store|push notification\w*|tablet|iphone|apk|offline mode|deep link\w*",
}  # fmt: skip
_COMPLEX = r"redesign\w*|architecture\w*|rewrite|distributed|migrat\w+|end-to-end|multi-\w+|entire|whole|all (the )?\w+|across|overhaul|concurren\w+|real-?time|scal(e|able|ing)|integrat\w+|framework|microservices?|from scratch|platform|system-wide|complex|replicat\w+|shard\w*|sso|machine learning|orchestrat\w+|zero[- ]downtime"
_SIMPLE = r"typos?|rename|bump|small|minor|simple|trivial|wording|comments?|colou?r|label\w*|text|spelling|one[- ]line\w*|tweak|button|link|badge|readme|quick|icon|padding|constant|log message|default value"
_RISKY = r"production|payment\w*|billing|security|auth\w*|passwords?|delet\w+|drop (the )?\w+|migrat\w+|credential\w*|secrets?|data loss|rollback|critical|customer data|personal data|gdpr|schema\w*|encrypt\w*|outage|hotfix|downtime|database|deploy\w*|permission\w*|irreversible|money|invoice\w*|privacy|token\w*"
_HARMLESS = r"docs?|document\w*|readme|typos?|comments?|tests?|changelog|wording|spelling|research|prototype|spike|example\w*|colou?r|tooltip\w*|lint\w*|style|format\w*|badge|investigat\w+|review"

_ALIASES = {
    "feat": "feature", "enhancement": "feature", "story": "feature", "bugfix": "bug", "fix": "bug", "defect": "bug", "incident": "bug",
    "hotfix": "bug", "doc": "docs", "documentation": "docs", "perf": "performance", "optimization": "performance", "tests": "test",
    "testing": "test", "refactoring": "refactor", "style": "refactor", "cleanup": "refactor", "ci": "deployment", "cd": "deployment",
    "build": "deployment", "deploy": "deployment", "release": "deployment", "config": "configuration", "spike": "research",
    "analysis": "research", "audit": "review", "chore": "maintenance", "bump": "maintenance", "deps": "maintenance", "sec": "security",
}  # fmt: skip
_PREFIX = re.compile(r"^\s*(\w+)(?:\(([^)]*)\))?!?:\s*(.*)$", re.DOTALL)
_FIRST = 3.0  # what the first words weigh, beside one for each cue after them
_MOST = 3  # cues of one sort that count


def _compiled(table: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(rf"(?<![\w-])(?:{cues})(?![\w])", re.IGNORECASE) for name, cues in table.items()}


_TYPE, _DOMAIN = _compiled(_TYPE_CUES), _compiled(_DOMAIN_CUES)
_LEAD = {name: re.compile(rf"(?:please |we (?:need|should|must) (?:to )?|i want to |can you )?(?:{cues})(?!\w)", re.IGNORECASE) for name, cues in _LEADING.items()}  # fmt: skip
_COMPLEX_CUES, _SIMPLE_CUES, _RISKY_CUES, _HARMLESS_CUES = _compiled(
    {"complex": _COMPLEX, "simple": _SIMPLE, "risky": _RISKY, "harmless": _HARMLESS}
).values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a task asks for, None where neither it nor its text says. Numbers lie in 0 to 1; `inferred` was read from the text."""

    task_type: str | None
    domain: str | None
    domains: tuple[str, ...]
    complexity: str
    risk: str
    estimated_time: float | None
    domain_diversity: float
    skill_count: float
    inferred: tuple[str, ...] = ()

    def context(self) -> dict[str, Any]:
        """Return it as the context of a decision: ordinal where there is an order."""
        found = asdict(self)
        found |= {"complexity": COMPLEXITIES.index(self.complexity), "risk": RISKS.index(self.risk), "state": VERSION}
        del found["domains"], found["inferred"]
        return found


def workload_of(text: str, given: Mapping[str, Any], *, typical_s: float | None = None) -> Workload:
    """Return what a task asks for, from its text and what it says of itself.

    `given` may have `task_type` or `type`, `domain`, `complexity`, `risk` or `risk_level`, `skills`, and `estimated_s`, the time
    it is thought to take; else that is `typical_s`. A value that is none of ours is read as text.
    """
    prefix = _PREFIX.match(text)
    kind = _named(given.get("task_type") or given.get("type"), TYPES)
    if kind is None and prefix:
        kind = _named(prefix[1], TYPES)
    said = prefix[3] if prefix and _named(prefix[1], TYPES) else text
    domains = _domains(said)
    domain = _named(given.get("domain"), DOMAINS)
    inferred = []
    if kind is None:
        kind = _type_of(said)
        inferred.append("task_type")
    if domain is None:
        usual = {"docs": "documentation", "test": "testing", "deployment": "devops", "security": "security"}
        domain = domains[0] if domains else usual.get(kind) if kind else None
        inferred.append("domain")
    skills = given.get("skills")
    count = len(skills) if isinstance(skills, list | tuple) else 0
    complexity = _named(given.get("complexity"), COMPLEXITIES)
    if complexity is None:
        complexity = _complexity_of(said, kind, len(domains), count)
        inferred.append("complexity")
    risk = _named(given.get("risk") or given.get("risk_level"), RISKS)
    if risk is None:
        risk = _risk_of(said, kind, domain, critical=bool(given.get("critical")))
        inferred.append("risk")
    estimated = given.get("estimated_s")
    seconds = float(estimated) if isinstance(estimated, int | float) and estimated > 0 else typical_s
    return Workload(
        task_type=kind,
        domain=domain,
        domains=tuple(domains or filter(None, [domain])),
        complexity=complexity,
        risk=risk,
        estimated_time=None if seconds is None else min(math.log1p(seconds) / math.log1p(86_400), 1.0),
        domain_diversity=max(len(domains), 1) / len(DOMAINS),
        skill_count=min(count / 10, 1.0),
        inferred=tuple(inferred),
    )


def _named(value: Any, known: Sequence[str]) -> str | None:
    name = str(value).strip().lower() if value is not None else ""
    name = _ALIASES.get(name, name)
    return name if name in known else None


def _type_of(text: str) -> str | None:
    scores = {name: float(min(len(cues.findall(text)), _MOST)) for name, cues in _TYPE.items()}
    start = text.strip()
    for name, cues in _LEAD.items():
        if cues.match(start):
            scores[name] += _FIRST
    best = max(scores, key=lambda name: (scores[name], -TYPES.index(name)))
    return best if scores[best] else None


def _domains(text: str) -> list[str]:
    counts = {name: len(cues.findall(text)) for name, cues in _DOMAIN.items()}
    return sorted((name for name in DOMAINS if counts[name]), key=lambda name: (-counts[name], DOMAINS.index(name)))


def _complexity_of(text: str, kind: str | None, domains: int, skills: int) -> str:
    words = len(text.split())
    points = min(len(_COMPLEX_CUES.findall(text)), 2) - 1.5 * min(len(_SIMPLE_CUES.findall(text)), 2)
    points += (words > 25) + (words > 80) + (domains > 2) + (skills > 3)
    points += (kind == "migration") - (kind in ("docs", "maintenance")) * 1.0 - (words < 5) * 0.5
    return "complex" if points >= 1.5 else "simple" if points <= -0.5 else "medium"


def _risk_of(text: str, kind: str | None, domain: str | None, *, critical: bool) -> str:
    points = min(len(_RISKY_CUES.findall(text)), 3) - 1.5 * min(len(_HARMLESS_CUES.findall(text)), 2)
    points += (kind in ("migration", "deployment", "security")) + (domain in ("database", "security")) * 0.5
    points -= kind in ("docs", "test", "research", "review")
    return "high" if critical or points >= 1.5 else "low" if points < 0.5 else "medium"
