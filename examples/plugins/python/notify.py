"""The step `notify`: tells a web hook about a node, with the `asyncio` loop of componentize-py.

The loop is built on `wasi:io/poll`, its requests on `wasi:http`, and the host makes a call of the journal of each. So the
step may be activated again as often as it takes: the hook gets one message, which it knows by the `Idempotency-Key`.
"""

import asyncio
import json
from urllib.parse import urlsplit

import poll_loop
from componentize_py_types import Err
from poll_loop import PollLoop, Sink, Stream
from wit_world import exports
from wit_world.exports.working import StepError_Permanent, StepError_Retryable, StepInput
from wit_world.imports import logging
from wit_world.imports.replicante_playbook_types import Description
from wit_world.imports.types import (
    ErrorCode_HttpRequestDenied, Fields, Method_Post, OutgoingRequest, Scheme_Http, Scheme_Https,
)

ARGUMENTS = {
    "type": "object",
    "properties": {
        "url": {
            "type": "string", "minLength": 1, "maxLength": 8192,
            "description": "Address of the web hook.",
        },
        "text": {"type": "string", "maxLength": 4096, "description": "What it is told."},
    },
    "required": ["url", "text"],
    "additionalProperties": False,
}


async def post(url: str, message: bytes) -> tuple[int, str]:
    parts = urlsplit(url)
    request = OutgoingRequest(Fields.from_list([("content-type", b"application/json")]))
    request.set_method(Method_Post())
    request.set_scheme(Scheme_Http() if parts.scheme == "http" else Scheme_Https())
    request.set_authority(parts.netloc)
    request.set_path_with_query(parts.path + (f"?{parts.query}" if parts.query else ""))

    sink = Sink(request.body())
    sending = asyncio.create_task(poll_loop.send(request))
    await sink.send(message)
    sink.close()
    response = await sending

    status, body, answer = response.status(), Stream(response.consume()), b""
    while (piece := await body.next()) is not None:
        answer += piece
    return status, answer.decode()


def notify(input: StepInput) -> dict:
    arguments = json.loads(input.arguments)
    message = {"agent": input.agent, "text": arguments["text"]}
    loop = PollLoop()
    asyncio.set_event_loop(loop)
    try:
        sent = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
        status, answer = loop.run_until_complete(post(arguments["url"], sent))
    except Err as error:
        # What the playbook does not grant will not be granted next time; anything else may succeed.
        denied = isinstance(error.value, ErrorCode_HttpRequestDenied)
        failed = StepError_Permanent if denied else StepError_Retryable
        raise Err(failed(f"failed to reach the web hook: {error.value}")) from None
    logging.log(logging.Level.INFO, f"the web hook answered {status}")
    if 200 <= status < 300:
        return {"status": status, "answer": answer}
    may_pass = status >= 500 or status in (408, 425, 429)
    failed = StepError_Retryable if may_pass else StepError_Permanent
    raise Err(failed(f"the web hook answered {status}"))


class Working(exports.Working):
    def describe(self) -> Description:
        return Description(
            name="notify",
            version="1.0.0",
            summary="Tells a web hook about a node.",
            arguments=json.dumps(ARGUMENTS),
        )

    def run(self, input: StepInput) -> str:
        try:
            return json.dumps(notify(input))
        except Err:
            raise
        except Exception as error:
            # An exception that is not a `step-error` would trap.
            raise Err(StepError_Permanent(f"{type(error).__name__}: {error}")) from None
