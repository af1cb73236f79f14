// The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of
// their names, so that at most one zone is ever touched at a time.
//
// The order of the zones is worked out once, at the first decision of the stage, and kept in the
// memo. Each decision looks at every agent that waits, which is simple and good for some thousands.

import { log } from "replicante:playbook/logging@0.1.0";
import { counts, details, page } from "replicante:playbook/roster@0.1.0";

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
  },
  additionalProperties: false,
};

/** Identifiers that are asked for at a time. */
const PAGE = 1000;

/** Characters in the label of a batch, at most. */
const LABEL = 63;

function decide(input) {
  const { attribute = "zone", max_parallel = 1 } = JSON.parse(input.arguments);
  const { pending, running } = counts();
  if (pending === 0) {
    const next = { tag: running === 0 ? "complete" : "wait" };
    return { start: [], skip: [], next, memo: input.memo, label: null };
  }

  const free = Math.min(Math.max(max_parallel - running, 0), input.maxStart);
  const waiting = byZone(attribute);
  const names = [...waiting.keys()].sort(byCodePoint);
  const zones = input.memo === "" ? [...names] : JSON.parse(input.memo).zones;
  const wait = (start, label) => {
    return { start, skip: [], next: { tag: "wait" }, memo: JSON.stringify({ zones }), label };
  };
  // A zone is left only once nothing of it is in flight. One that turned up later comes last.
  while (zones.length > 0 && !waiting.has(zones[0])) {
    if (running > 0) return wait([], null);
    log("info", `zone ${zones.shift()} is done`);
  }
  if (zones.length === 0) zones.push(...names);

  const start = waiting.get(zones[0]).slice(0, free);
  const label = [...`zone ${zones[0]}`].slice(0, LABEL).join("");
  return wait(start, start.length > 0 ? label : null);
}

/** The agents that wait, by zone; those without one are a zone of their own with an empty name. */
function byZone(attribute) {
  const zones = new Map();
  for (let ids = page("pending", null, PAGE); ids.length > 0; ids = page("pending", ids.at(-1), PAGE)) {
    for (const id of ids) {
      const zone = zoneOf(details(id)?.attributes ?? "{}", attribute);
      if (!zones.has(zone)) zones.set(zone, []);
      zones.get(zone).push(id);
    }
  }
  return zones;
}

/** A text as it is, a number or truth value as it is written, and nothing for all else. */
function zoneOf(attributes, attribute) {
  const text = members(attributes).get(attribute) ?? "null";
  if (text.startsWith('"')) return JSON.parse(text);
  return text === "null" || text.startsWith("{") || text.startsWith("[") ? "" : text;
}

/** The order of UTF-8. `sort` alone orders by units of UTF-16, which differs beyond U+FFFF. */
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
