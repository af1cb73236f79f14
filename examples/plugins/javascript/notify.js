// The step `notify`: tells a web hook about a node, with `fetch`.
//
// `fetch` is built on `wasi:http`, and the host makes a call of the journal of its request. So the step may be activated
// again as often as it takes: the hook gets one message, which it knows by the `Idempotency-Key`. QuickJS has no `fetch`, so
// this plugin runs on StarlingMonkey.

import { log } from "replicante:playbook/logging@0.1.0";

const ARGUMENTS = {
  type: "object",
  properties: {
    url: {
      type: "string", minLength: 1, maxLength: 8192,
      description: "Address of the web hook.",
    },
    text: { type: "string", maxLength: 4096, description: "What it is told." },
  },
  required: ["url", "text"],
  additionalProperties: false,
};

/** What a step throws to fail. It becomes the `step-error` of the WIT. */
const retryable = (message) => ({ tag: "retryable", val: message });
const permanent = (message) => ({ tag: "permanent", val: message });

/** Statuses with which another attempt may succeed. */
const mayPass = (status) => status >= 500 || [408, 425, 429].includes(status);

async function notify({ agent, arguments: text }) {
  const args = JSON.parse(text);
  let status, answer;
  try {
    const response = await fetch(args.url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ agent, text: args.text }),
    });
    status = response.status;
    answer = await response.text();
  } catch (error) {
    // `fetch` tells nobody why; the log of the step does.
    throw retryable(`failed to reach the web hook: ${error}`);
  }
  log("info", `the web hook answered ${status}`);
  if (status >= 200 && status < 300) return JSON.stringify({ status, answer });
  throw (mayPass(status) ? retryable : permanent)(`the web hook answered ${status}`);
}

export const working = {
  describe() {
    return {
      name: "notify",
      version: "1.0.0",
      summary: "Tells a web hook about a node.",
      arguments: JSON.stringify(ARGUMENTS),
    };
  },

  async run(input) {
    try {
      return await notify(input);
    } catch (error) {
      // An exception that is not a `step-error` would trap, and its text would be lost.
      throw typeof error?.tag === "string" ? error : permanent(`${error}`);
    }
  },
};
