"""What Schemathesis has to know of Replibook: things that exist, and what a role may not do.

`SITE` in the environment is a JSON object. `verbs`: what the role may do, with everything; without verbs there is no token.
`runs`, `imports`, `clusters`, `playbook` and `plugin` exist; `own` and `body` have values for further parameters and for fields of
bodies. `commands` can be asked of runs, and `documents` be applied. `component`: a file with a plugin. `seed`: what is random here follows from it. `report`: a file that is written at the end, with how often each
operation was answered with which status.
"""

import atexit
import collections
import json
import os
import pathlib
import random

import schemathesis

SITE = json.loads(os.environ["SITE"])
VERBS = set(SITE["verbs"])
COMPONENT = pathlib.Path(SITE["component"]).read_bytes()
DICE = random.Random(SITE["seed"])
ANSWERS = collections.defaultdict(collections.Counter)

# Of this many requests, one is sent as it was made up.
AS_MADE_UP = 4


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for item in raw_schema["paths"].values():
        for operation in item.values():
            # It stands for every status, so with it none would be undocumented.
            del operation["responses"]["default"]


@schemathesis.serializer("application/wasm")
def component(context, value):
    return COMPONENT if DICE.randrange(AS_MADE_UP) == 0 else str(value).encode()


def real(name, path):
    """A thing that exists, for a parameter of this name."""
    if name == "id":
        kind = path.removeprefix("/api/v1/").split("/")[0]
        return DICE.choice(SITE[kind]) if kind in ("runs", "imports") else None
    if name == "name":
        return DICE.choice(SITE["clusters"]) if "/clusters/" in path else SITE["playbook"]
    if name == "digest":
        return SITE["plugin"] if "{digest}" in path else None
    return SITE["own"].get(name)


def real_body(name):
    """The same for a field of a body."""
    if name == "document":
        return DICE.choice(SITE["documents"])
    if name == "documents" and DICE.randrange(AS_MADE_UP):
        return [{"document": document} for document in SITE["documents"]]
    return SITE["body"].get(name)


@schemathesis.hook
def before_call(context, case, kwargs):
    """What is made up is found nowhere, so most requests get something real."""
    headers = case.headers or {}
    if not VERBS and DICE.randrange(AS_MADE_UP):
        # Made-up tokens are soon told to wait, before anything else is looked at.
        headers.pop("Authorization", None)
    if DICE.randrange(AS_MADE_UP) == 0:
        return
    headers.pop("Plugin-Signatures", None)
    for name in case.path_parameters or {}:
        case.path_parameters[name] = real(name, case.path) or case.path_parameters[name]
    for name in case.query or {}:
        case.query[name] = real(name, case.path) or case.query[name]
    if isinstance(case.body, dict):
        for name in case.body:
            case.body[name] = real_body(name) or case.body[name]
        if case.operation.definition.raw["operationId"] == "submitCommand" and DICE.randrange(2):
            case.body = {"command": DICE.choice(SITE["commands"])}


def wanted(case):
    """The verbs of which a request wants one."""
    operation = case.operation.definition.raw
    if operation["operationId"] == "submitCommand" and isinstance(case.body, dict):
        if case.body.get("override_guard") is not None:
            return ["admin"]
        return ["approve"] if case.body.get("command") in ("approve", "reject") else ["steer"]
    return operation["x-verbs"]


@schemathesis.check
def nobody_does_what_the_table_refuses(ctx, response, case):
    operation, status = case.operation.definition.raw, response.status_code
    ANSWERS[operation["operationId"]][status] += 1
    if operation.get("security") == [] or status >= 400:
        return
    if not VERBS:
        raise AssertionError(f"found {status} without a token, expected 401")
    verbs = wanted(case)
    if verbs and "admin" not in VERBS and not VERBS & set(verbs):
        raise AssertionError(f"found {status} for {sorted(VERBS)}, though it wants {verbs}")


@atexit.register
def report():
    pathlib.Path(SITE["report"]).write_text(json.dumps(ANSWERS))
