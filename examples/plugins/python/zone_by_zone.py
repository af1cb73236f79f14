"""The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of
their names, so that at most one zone is ever touched at a time.

The order of the zones is worked out once, at the first decision of the stage, and kept in the memo.
Each decision looks at every agent that waits, which is simple and good for some thousands.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.planning import Decision, Next_Complete, Next_Wait, PlanInput
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
    },
    "additionalProperties": False,
}

# Identifiers that are asked for at a time.
PAGE = 1000

# Characters in the label of a batch, at most.
LABEL = 63


def decide(input: PlanInput) -> Decision:
    arguments = json.loads(input.arguments)
    counts = roster.counts()
    if counts.pending == 0:
        next = Next_Complete() if counts.running == 0 else Next_Wait()
        return Decision(start=[], skip=[], next=next, memo=input.memo, label=None)

    free = max(arguments.get("max_parallel", 1) - counts.running, 0)
    free = min(free, input.max_start)
    waiting = by_zone(arguments.get("attribute", "zone"))
    zones = json.loads(input.memo)["zones"] if input.memo else sorted(waiting)
    # A zone is left only once nothing of it is in flight. One that turned up later comes last.
    while zones and zones[0] not in waiting:
        if counts.running > 0:
            return wait([], zones, None)
        logging.log(logging.Level.INFO, f"zone {zones.pop(0)} is done")
    if not zones:
        zones = sorted(waiting)

    start = waiting[zones[0]][:free]
    return wait(start, zones, f"zone {zones[0]}"[:LABEL] if start else None)


def wait(start: list[str], zones: list[str], label: str | None) -> Decision:
    memo = json.dumps({"zones": zones}, ensure_ascii=False, separators=(",", ":"))
    return Decision(start=start, skip=[], next=Next_Wait(), memo=memo, label=label)


def by_zone(attribute: str) -> dict[str, list[str]]:
    """The agents that wait, by zone; those without one are a zone of their own with an empty name."""
    zones = {}
    after = None
    while ids := roster.page(AgentState.PENDING, after, PAGE):
        after = ids[-1]
        for id in ids:
            agent = roster.details(id)
            zone = zone_of(agent.attributes, attribute) if agent else ""
            zones.setdefault(zone, []).append(id)
    return zones


def zone_of(attributes: str, attribute: str) -> str:
    """A text as it is, a number or truth value as it is written, and nothing for all else."""
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
        except Exception as error:
            raise Err(f"{type(error).__name__}: {error}") from None
