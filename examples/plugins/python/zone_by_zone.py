"""The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of the
zones' names, so that it never touches two zones at a time.

The order of the zones is worked out once, at the first decision of the stage, and kept in the memo.
Each decision looks at every agent that waits, which is simple and fast enough for a few thousand.

With `healthy`, the agents of a zone that is done are asked how they are before the next zone begins.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.planning import (
    Decision, Next_Abort, Next_Approval, Next_Complete, Next_Wait, Next_WaitUntil, PlanInput,
)
from wit_world.imports import logging, roster
from wit_world.imports.types import AgentState, Description

ARGUMENTS = {
    "type": "object",
    "properties": {
        "attribute": {
            "type": "string", "minLength": 1, "default": "zone",
            "description": "Attribute of an agent that names its zone.",
        },
        "max_parallel": {
            "type": "integer", "minimum": 1, "maximum": 300, "default": 1,
            "description": "How many agents of the zone go at a time.",
        },
        "healthy": {
            "type": "string", "minLength": 1, "maxLength": 2048,
            "description": "A CEL expression that holds for an agent that is well, for example "
            "agent.node.node_status == \"HEALTHY\". Before the next zone begins, and at the end, the "
            "agents of the zone that are done are asked afresh. Without it nobody is asked.",
        },
        "on_ill": {
            "enum": ["abort", "approval"], "default": "abort",
            "description": "What happens when an agent of the zone is not well: the run fails, or a "
            "person is asked.",
        },
    },
    "additionalProperties": False,
}

# How many identifiers are asked for at a time.
PAGE = 1000

# How many agents are asked at a time: the most that the host asks for one decision.
ASKED = 1000

# How many agents that are not well a message names; the others are only counted.
NAMED = 10

# The longest label of a batch, in characters.
LABEL = 63


def decide(input: PlanInput) -> Decision:
    arguments = json.loads(input.arguments)
    healthy = arguments.get("healthy")
    counts = roster.counts()
    if counts.pending == 0 and (counts.running > 0 or healthy is None):
        next = Next_Complete() if counts.running == 0 else Next_Wait()
        return Decision(start=[], skip=[], next=next, memo=input.memo, label=None)

    attribute = arguments.get("attribute", "zone")
    waiting = by_zone(attribute)
    memo = json.loads(input.memo) if input.memo else {"zones": sorted(waiting)}
    zones, look = memo["zones"], memo.pop("look", None)
    # A zone is left only once none of its agents is in flight. A zone that turned up later comes last.
    while zones and zones[0] not in waiting:
        if counts.running > 0:
            return decision(Next_Wait(), memo)
        if healthy is not None:
            memo["look"], ill = health(zones[0], attribute, healthy, look, int(input.now))
            if memo["look"]:
                return decision(Next_WaitUntil(input.now), memo)
            del memo["look"]
            if ill:
                # A person who lets the run go on is not asked about this zone again.
                told = f"zone {zones.pop(0)} is not well: {ill}"
                return decision(stop(told, arguments.get("on_ill"), counts.pending), memo)
            look = None
        logging.log(logging.Level.INFO, f"zone {zones.pop(0)} is done")
    if not zones:
        if counts.pending == 0:
            return decision(Next_Complete(), memo)
        zones.extend(sorted(waiting))

    free = max(arguments.get("max_parallel", 1) - counts.running, 0)
    start = waiting[zones[0]][:min(free, input.max_start)]
    return decision(Next_Wait(), memo, start, f"zone {zones[0]}"[:LABEL] if start else None)


def decision(next, memo: dict, start: list[str] = [], label: str | None = None) -> Decision:
    memo = json.dumps(memo, ensure_ascii=False, separators=(",", ":"))
    return Decision(start=start, skip=[], next=next, memo=memo, label=label)


def stop(told: str, on_ill: str | None, pending: int):
    if on_ill != "approval":
        return Next_Abort(told)
    go_on = f"go on with the other {pending}?" if pending else "end the stage all the same?"
    return Next_Approval(f"{told}; {go_on}")


def health(
    zone: str, attribute: str, healthy: str, look: dict | None, now: int
) -> tuple[dict | None, str]:
    """Goes on with a look at the agents of a zone that are done: judges those that were asked, and
    has the next ones asked. Returns what is being asked, and which agents are ill; neither if all are well.
    """
    asked, after = (look["asked"], look["after"]) if look else (None, "")
    while ids := done_in(zone, attribute, after):
        if asked is None:
            roster.refresh(ids)
            return {"asked": now, "after": after}, ""
        ill, missed = [], []
        for id in ids:
            view = roster.node(id)
            if view is None or view.seen_at is None or view.seen_at < asked:
                missed.append(id)
            elif view.status is None:
                ill.append(f"{id} did not answer")
            elif not is_well(id, healthy):
                ill.append(f"{id} is {view.status}")
        if ill:
            more = f" and {len(ill) - NAMED} more" if len(ill) > NAMED else ""
            return None, ", ".join(ill[:NAMED]) + more
        if missed:
            # These agents were done only after the others had been asked.
            roster.refresh(missed)
            return {"asked": asked, "after": after}, ""
        asked, after = None, ids[-1]
    return None, ""


def is_well(id: str, healthy: str) -> bool:
    try:
        return roster.matches(id, healthy)
    except Err as error:
        raise Err(f"agent {id}: {error.value}") from None


def done_in(zone: str, attribute: str, after: str) -> list[str]:
    """The next agents of a zone that are done: as many as are asked at a time."""
    found = []
    last = after or None
    while ids := roster.page(AgentState.DONE, last, PAGE):
        last = ids[-1]
        for id in ids:
            if zone_of(id, attribute) == zone:
                found.append(id)
            if len(found) == ASKED:
                return found
    return found


def by_zone(attribute: str) -> dict[str, list[str]]:
    """The agents that wait, by zone. Agents without a zone are a zone of their own with an empty name."""
    zones = {}
    after = None
    while ids := roster.page(AgentState.PENDING, after, PAGE):
        after = ids[-1]
        for id in ids:
            zones.setdefault(zone_of(id, attribute), []).append(id)
    return zones


def zone_of(id: str, attribute: str) -> str:
    """A text as it is; a number, true or false as it is written; empty for any other value."""
    agent = roster.details(id)
    attributes = agent.attributes if agent else "{}"
    found = json.loads(attributes, parse_int=str, parse_float=str).get(attribute)
    if isinstance(found, bool):
        return "true" if found else "false"
    return found if isinstance(found, str) else ""


class Planning(exports.Planning):
    def describe(self) -> Description:
        return Description(
            name="zone-by-zone",
            version="1.0.0",
            summary="Goes through a cluster one zone after the other.",
            arguments=json.dumps(ARGUMENTS),
        )

    def plan(self, input: PlanInput) -> Decision:
        try:
            return decide(input)
        except Err:
            raise
        except Exception as error:
            raise Err(f"{type(error).__name__}: {error}") from None
