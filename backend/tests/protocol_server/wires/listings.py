"""What is asked of an upstream besides completions: which models it has, how long a prompt may be, how a text is
counted. OpenAI and Anthropic list models under one path, told apart by Anthropic's version header; `/props` and
`/tokenize` are llama.cpp's, `/api/…` is Ollama's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from tests.protocol_server.answers import Ask, tokens_of
from tests.protocol_server.peer import Request
from tests.protocol_server.wires.openai import CREATED

# What a fault is planned for where nobody asks for a completion.
LISTING = Ask(model="", mode="plain", user_texts=("",), prompt_tokens=0, messages=0)
_AT = "2023-11-14T22:13:20Z"


@dataclass(slots=True)
class Offer:
    """What the server says that it has. `speaks`: whose way it has to tell a window; none, where that is empty."""

    models: Sequence[str] = ("gpt-4o-mini", "gpt-4o")
    context_tokens: int = 4096
    speaks: Literal["llama.cpp", "ollama", ""] = "llama.cpp"


def listing(offer: Offer, request: Request, path: str) -> tuple[int, bytes] | None:
    """Status and body, None where the request is for no listing. Raises ValueError or TypeError for a body that
    is no text."""
    match request.method, path:
        case "GET", "/v1/models":
            is_anthropic = "anthropic-version" in request.headers
            return 200, orjson.dumps(_anthropic_models(offer) if is_anthropic else _openai_models(offer))
        case "GET", "/api/tags":
            return 200, orjson.dumps({"models": [_tag(name) for name in offer.models]})
    return _of_local_server(offer, request, path)


def _of_local_server(offer: Offer, request: Request, path: str) -> tuple[int, bytes] | None:
    match offer.speaks, request.method, path:
        case "llama.cpp", "GET", "/props":
            return 200, orjson.dumps(_props(offer))
        case "llama.cpp", "POST", "/tokenize":
            return 200, orjson.dumps({"tokens": list(range(_tokens_in(request.body)))})
        case "ollama", "POST", "/api/show":
            return 200, orjson.dumps(_shown(offer))
        case "ollama", "GET", "/api/ps":
            return 200, orjson.dumps({"models": []})
    return None


def _openai_models(offer: Offer) -> Mapping[str, object]:
    frame = {"object": "model", "created": CREATED, "owned_by": "protocol-server"}
    return {"object": "list", "data": [{"id": name, **frame} for name in offer.models]}


def _anthropic_models(offer: Offer) -> Mapping[str, object]:
    models = [{"type": "model", "id": name, "display_name": name, "created_at": _AT} for name in offer.models]
    first, last = (offer.models[0], offer.models[-1]) if offer.models else (None, None)
    return {"data": models, "has_more": False, "first_id": first, "last_id": last}


def _props(offer: Offer) -> Mapping[str, object]:
    name = offer.models[0] if offer.models else ""
    settings = {"n_ctx": offer.context_tokens, "model": name}
    return {"default_generation_settings": settings, "total_slots": 1, "model_path": f"models/{name}.gguf"}


def _shown(offer: Offer) -> Mapping[str, object]:
    """The model was trained for more than it is served with."""
    trained = {"general.architecture": "llama", "llama.context_length": 8 * offer.context_tokens}
    return {"model_info": trained, "parameters": f"num_ctx    {offer.context_tokens}", "capabilities": ["completion"]}


def _tag(name: str) -> Mapping[str, object]:
    details = {"format": "gguf", "family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"}
    return {"name": name, "model": name, "modified_at": _AT, "size": 1, "digest": "0", "details": details}


def _tokens_in(body: bytes) -> int:
    request = orjson.loads(body)
    if not isinstance(request, dict) or not isinstance(request.get("content"), str):
        raise TypeError("content: a text is wanted")
    return tokens_of(request["content"])
