// The step `safe-restart`: restarts a healthy node and waits until it is healthy again.
//
// It reads like a program that runs once, from its first line to its last. In truth it runs again from
// its start after every answer, and gets the earlier answers again. So it keeps no state of its own, and
// has effects only through the calls of its world.

import { info, runAction, waitStatus } from "replicante:playbook/agent@0.1.0";
import { log } from "replicante:playbook/logging@0.1.0";
import { now, sleep } from "replicante:playbook/timer@0.1.0";

import { members } from "./json.js";

const ARGUMENTS = {
  type: "object",
  properties: {
    kind: {
      type: "string", minLength: 1, maxLength: 256,
      description: "Kind of the action that restarts the node.",
    },
    args: { default: null, description: "Arguments of that action." },
    settle_ms: {
      type: "integer", minimum: 0, maximum: 600000, default: 100,
      description: "How long the node is left alone after the restart.",
    },
    timeout_seconds: {
      type: "integer", minimum: 1, maximum: 86400, default: 120,
      description: "How long to wait for the node to be healthy again.",
    },
    only_healthy: {
      type: "boolean", default: true,
      description: "Whether a node that is not healthy is left as it is.",
    },
  },
  required: ["kind"],
  additionalProperties: false,
};

/** What a step throws to fail. It becomes the `step-error` of the WIT. */
const retryable = (message) => ({ tag: "retryable", val: message });
const permanent = (message) => ({ tag: "permanent", val: message });

/** What the agent or the playbook refuses will be refused again; anything else may succeed next time. */
const REFUSED = ["refused", "not-granted", "invalid"];

/** Makes a call to the agent. What it throws has the `agent-error` of the WIT as its payload. */
function ask(call) {
  try {
    return call();
  } catch ({ payload }) {
    throw REFUSED.includes(payload.tag) ? permanent(payload.val) : retryable(payload.val);
  }
}

function restart(input) {
  const text = members(input.arguments).get("args") ?? "null";
  const { kind, settle_ms = 100, timeout_seconds = 120, only_healthy = true } =
    JSON.parse(input.arguments);
  const started = now();

  const before = ask(() => info()).status;
  if (only_healthy && before !== "HEALTHY") {
    throw retryable(`found the node ${before} before the restart, expected HEALTHY`);
  }
  log("info", `${input.agent} is ${before}; restarting it`);

  const restarted = ask(() => runAction(kind, text));
  sleep(settle_ms);

  const after = ask(() => waitStatus(["HEALTHY"], timeout_seconds * 1000));
  const took = now() - started;
  log("info", `${input.agent} is ${after} after ${took} ms`);

  const outcome = JSON.stringify({ before, after, took_ms: took });
  return `${outcome.slice(0, -1)},"restart":${restarted}}`;
}

export const working = {
  describe() {
    return {
      name: "safe-restart",
      version: "1.0.0",
      summary: "Restarts a node and waits until it is healthy again.",
      arguments: JSON.stringify(ARGUMENTS),
    };
  },

  run(input) {
    try {
      return restart(input);
    } catch (error) {
      // An exception that is not a `step-error` would trap, and its text would be lost.
      throw typeof error?.tag === "string" ? error : permanent(`${error}`);
    }
  },
};
