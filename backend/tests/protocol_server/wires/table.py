"""The wires, by the path that a completion is asked for on."""

from tests.protocol_server.wires import anthropic, anthropic_stream, openai, openai_stream
from tests.protocol_server.wires.wire import Wire

OPENAI = Wire(
    name="openai",
    id_prefix="chatcmpl-",
    request_id_header="x-request-id",
    read_ask=openai.read_ask,
    completion=openai.completion,
    stream=openai_stream.stream,
    failure=openai.failure,
    error_body=openai.error_body,
)
ANTHROPIC = Wire(
    name="anthropic",
    id_prefix="msg_",
    request_id_header="request-id",
    read_ask=anthropic.read_ask,
    completion=anthropic.completion,
    stream=anthropic_stream.stream,
    failure=anthropic.failure,
    error_body=anthropic.error_body,
)
WIRES = {"/v1/chat/completions": OPENAI, "/v1/messages": ANTHROPIC}
