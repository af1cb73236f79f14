// The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of the
// zones' names, so that it never touches two zones at a time.
//
// The order of the zones is worked out once, at the first decision of the stage, and kept in the
// memo. Each decision looks at every agent that waits, which is simple and fast enough for a few thousand.
//
// With `healthy`, the agents of a zone that is done are asked how they are before the next zone begins.

import { log } from "replicante:playbook/logging@0.1.0";
import { counts, details, matches, node, page, refresh } from "replicante:playbook/roster@0.1.0";

import { members } from "./json.js";

const ARGUMENTS = {
  type: "object",
  properties: {
    attribute: {
      type: "string", minLength: 1, default: "zone",
      description: "Attribute of an agent that names its zone.",
    },
    max_parallel: {
      type: "integer", minimum: 1, maximum: 300, default: 1,
      description: "How many agents of the zone go at a time.",
    },
    healthy: {
      type: "string", minLength: 1, maxLength: 2048,
      description: 'A CEL expression that holds for an agent that is well, for example agent.node.node_status == "HEALTHY". Before the next zone begins, and at the end, the agents of the zone that are done are asked afresh. Without it nobody is asked.',
    },
    on_ill: {
      enum: ["abort", "approval"], default: "abort",
      description: "What happens when an agent of the zone is not well: the run fails, or a person is asked.",
    },
  },
  additionalProperties: false,
};

/** How many identifiers are asked for at a time. */
const PAGE = 1000;

/** How many agents are asked at a time: the most that the host asks for one decision. */
const ASKED = 1000;

/** How many agents that are not well a message names; the others are only counted. */
const NAMED = 10;

/** The longest label of a batch, in characters. */
const LABEL = 63;

function decide(input) {
  const { attribute = "zone", max_parallel = 1, healthy, on_ill } = JSON.parse(input.arguments);
  const { pending, running } = counts();
  if (pending === 0 && (running > 0 || healthy === undefined)) {
    return decision(running === 0 ? "complete" : "wait", undefined, input.memo);
  }

  const waiting = byZone(attribute);
  const names = [...waiting.keys()].sort(byCodePoint);
  const { zones, look: before } = input.memo === "" ? { zones: [...names] } : JSON.parse(input.memo);
  const remember = (look) => JSON.stringify({ zones, look });
  let look = before;
  // A zone is left only once none of its agents is in flight. A zone that turned up later comes last.
  while (zones.length > 0 && !waiting.has(zones[0])) {
    if (running > 0) return decision("wait", undefined, remember());
    if (healthy !== undefined) {
      const { asking, ill } = health(doneIn(zones[0], attribute), healthy, look, input.now);
      if (asking !== undefined) return decision("wait-until", input.now, remember(asking));
      // A person who lets the run go on is not asked about this zone again.
      if (ill !== undefined) return stop(on_ill, `zone ${zones.shift()} is not well: ${ill}`, pending, remember());
      look = undefined;
    }
    log("info", `zone ${zones.shift()} is done`);
  }
  if (zones.length === 0) {
    if (pending === 0) return decision("complete", undefined, remember());
    zones.push(...names);
  }

  const free = Math.min(Math.max(max_parallel - running, 0), input.maxStart);
  const start = waiting.get(zones[0]).slice(0, free);
  const label = [...`zone ${zones[0]}`].slice(0, LABEL).join("");
  return { ...decision("wait", undefined, remember()), start, label: start.length > 0 ? label : null };
}

function decision(tag, val, memo) {
  return { start: [], skip: [], next: val === undefined ? { tag } : { tag, val }, memo, label: null };
}

function stop(on_ill, told, pending, memo) {
  if (on_ill !== "approval") return decision("abort", told, memo);
  const question = pending === 0 ? "end the stage all the same?" : `go on with the other ${pending}?`;
  return decision("approval", `${told}; ${question}`, memo);
}

/**
 * Goes on with a look at the agents that `agents` gives: judges those that were asked, and has the
 * next ones asked. Returns the look that goes on or the agents that are ill; neither if all are well.
 */
function health(agents, healthy, look, now) {
  let { asked, after } = look ?? { after: "" };
  for (;;) {
    const ids = agents(after);
    if (ids.length === 0) return {};
    if (asked === undefined) return ask(ids, now, after);
    const ill = [];
    const missed = [];
    for (const id of ids) {
      const { status, seenAt } = node(id) ?? {};
      if ((seenAt ?? -1) < asked) missed.push(id);
      else if (status == null) ill.push(`${id} did not answer`);
      else if (!isWell(id, healthy)) ill.push(`${id} is ${status}`);
    }
    if (ill.length > 0) return { ill: told(ill) };
    // These agents were done only after the others had been asked.
    if (missed.length > 0) return ask(missed, asked, after);
    after = ids.at(-1);
    asked = undefined;
  }
}

function ask(ids, asked, after) {
  refresh(ids);
  return { asking: { asked, after } };
}

function isWell(id, healthy) {
  try {
    return matches(id, healthy);
  } catch (error) {
    throw `agent ${id}: ${error.payload ?? error}`;
  }
}

function told(ill) {
  const named = ill.slice(0, NAMED).join(", ");
  return ill.length > NAMED ? `${named} and ${ill.length - NAMED} more` : named;
}

/** The next agents of a zone that are done and come after a given one: as many as are asked at a time. */
function doneIn(zone, attribute) {
  return (after) => {
    const found = [];
    const from = after === "" ? null : after;
    for (let ids = page("done", from, PAGE); ids.length > 0; ids = page("done", ids.at(-1), PAGE)) {
      for (const id of ids) {
        if (zoneOf(id, attribute) === zone) found.push(id);
        if (found.length === ASKED) return found;
      }
    }
    return found;
  };
}

/** The agents that wait, by zone. Agents without a zone are a zone of their own with an empty name. */
function byZone(attribute) {
  const zones = new Map();
  for (let ids = page("pending", null, PAGE); ids.length > 0; ids = page("pending", ids.at(-1), PAGE)) {
    for (const id of ids) {
      const zone = zoneOf(id, attribute);
      if (!zones.has(zone)) zones.set(zone, []);
      zones.get(zone).push(id);
    }
  }
  return zones;
}

/** A text as it is; a number, true or false as it is written; empty for any other value. */
function zoneOf(id, attribute) {
  const text = members(details(id)?.attributes ?? "{}").get(attribute) ?? "null";
  if (text.startsWith('"')) return JSON.parse(text);
  return text === "null" || text.startsWith("{") || text.startsWith("[") ? "" : text;
}

/** Orders as UTF-8 does. `sort` alone orders by UTF-16 units, which differs beyond U+FFFF. */
function byCodePoint(one, other) {
  const [a, b] = [[...one], [...other]];
  const at = a.findIndex((character, at) => character !== b[at]);
  if (at === -1) return a.length - b.length;
  return a[at].codePointAt(0) - (b[at]?.codePointAt(0) ?? -1);
}

export const planning = {
  describe() {
    return {
      name: "zone-by-zone",
      version: "1.0.0",
      summary: "Goes through a cluster one zone after the other.",
      arguments: JSON.stringify(ARGUMENTS),
    };
  },

  plan(input) {
    try {
      return decide(input);
    } catch (error) {
      throw `${error}`;
    }
  },
};
