"""The step `safe-restart`: restarts a healthy node and waits until it is healthy again.

It reads like a program that runs once, from its first line to its last. In truth it runs again from its
start after every answer, and gets the earlier answers again. So it keeps no state of its own, and has
effects only through the calls of its world.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.working import StepError_Permanent, StepError_Retryable, StepInput
from wit_world.imports import agent, logging, timer
from wit_world.imports.types import Description

ARGUMENTS = {
    "type": "object",
    "properties": {
        "kind": {
            "type": "string", "minLength": 1, "maxLength": 256,
            "description": "Kind of the action that restarts the node.",
        },
        "args": {"default": None, "description": "Arguments of that action."},
        "settle_ms": {
            "type": "integer", "minimum": 0, "maximum": 600000, "default": 100,
            "description": "How long the node is left alone after the restart.",
        },
        "timeout_seconds": {
            "type": "integer", "minimum": 1, "maximum": 86400, "default": 120,
            "description": "How long to wait for the node to be healthy again.",
        },
        "only_healthy": {
            "type": "boolean", "default": True,
            "description": "Whether a node that is not healthy is left as it is.",
        },
    },
    "required": ["kind"],
    "additionalProperties": False,
}

# What the agent or the playbook refuses will be refused again; anything else may succeed next time.
REFUSED = (agent.AgentError_Refused, agent.AgentError_NotGranted, agent.AgentError_Invalid)


def restart(input: StepInput) -> dict:
    arguments = json.loads(input.arguments)
    started = timer.now()

    before = agent.info().status
    if arguments.get("only_healthy", True) and before != "HEALTHY":
        message = f"found the node {before} before the restart, expected HEALTHY"
        raise Err(StepError_Retryable(message))
    logging.log(logging.Level.INFO, f"{input.agent} is {before}; restarting it")

    restarted = agent.run_action(arguments["kind"], json.dumps(arguments.get("args")))
    timer.sleep(arguments.get("settle_ms", 100))

    after = agent.wait_status(["HEALTHY"], arguments.get("timeout_seconds", 120) * 1000)
    took_ms = int(timer.now() - started)
    logging.log(logging.Level.INFO, f"{input.agent} is {after} after {took_ms} ms")

    restarted = json.loads(restarted)
    return {"before": before, "after": after, "restart": restarted, "took_ms": took_ms}


class Working(exports.Working):
    def describe(self) -> Description:
        return Description(
            name="safe-restart",
            version="1.0.0",
            summary="Restarts a node and waits until it is healthy again.",
            arguments=json.dumps(ARGUMENTS),
        )

    def run(self, input: StepInput) -> str:
        try:
            return json.dumps(restart(input))
        except Err as error:
            raise Err(step_error(error.value)) from None
        except Exception as error:
            # An exception that is not a `step-error` would trap.
            raise Err(StepError_Permanent(f"{type(error).__name__}: {error}")) from None


def step_error(error):
    """The error of a step that follows from an error of the agent."""
    if isinstance(error, (StepError_Permanent, StepError_Retryable)):
        return error
    return (StepError_Permanent if isinstance(error, REFUSED) else StepError_Retryable)(error.value)
