"""A tiny Llama with random weights, written as a GGUF file: it says nothing sensible, but it is a real model.

Its vocabulary is the 256 bytes and the printable characters of ASCII, so that a token is a character, and counts can
be foretold. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from struct import pack

_WIDTH, _HIDDEN, _HEADS, _LAYERS = 32, 64, 2, 1
_ALIGNMENT = 32
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
# Letters, the space as this kind of vocabulary writes it, and what JSON needs.
_SAID = frozenset('abcdefghijklmnopqrstuvwxyz\u2581.,"{}[]:')
TRAINED_TOKENS = 32_768


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    values: "array[float]"


def write_tiny_model(path: Path, seed: int = 2026) -> Path:
    """The same file for the same seed; 100 kB."""
    tokens = _tokens()
    tensors = _tensors(tokens, Random(seed))
    facts = _facts(tokens)
    head = b"GGUF" + pack("<IQQ", 3, len(tensors), len(facts)) + b"".join(facts)
    place = 0
    for tensor in tensors:
        head += _text(tensor.name) + pack("<I", len(tensor.shape)) + pack(f"<{len(tensor.shape)}Q", *tensor.shape)
        head += pack("<IQ", 0, place)  # 32-bit floats
        place += _padded(len(tensor.values) * 4)
    body = b"".join(_pad(tensor.values.tobytes()) for tensor in tensors)
    path.write_bytes(_pad(head) + body)
    return path


def _tokens() -> list[tuple[str, int]]:
    special = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    octets = [(f"<0x{octet:02X}>", _BYTE) for octet in range(256)]
    characters = [(chr(code), _NORMAL) for code in range(33, 127)] + [("\u2581", _NORMAL)]
    return special + octets + characters


def _tensors(tokens: Sequence[tuple[str, int]], random: Random) -> list[_Tensor]:
    def weights(name: str, *shape: int, scale: float = 0.1) -> _Tensor:
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        return _Tensor(name, shape, array("f", (random.gauss(0, scale) for _ in range(size))))

    def ones(name: str) -> _Tensor:
        return _Tensor(name, (_WIDTH,), array("f", [1.0] * _WIDTH))

    embedding = weights("token_embd.weight", _WIDTH, len(tokens), scale=0.5)
    output = weights("output.weight", _WIDTH, len(tokens), scale=0.3)
    for number, (token, _) in enumerate(tokens):
        # A number that all tokens share goes through to the end, and there favours what may be said; the quotation
        # mark most, so that strings come to an end.
        embedding.values[number * _WIDTH] = 8.0
        output.values[number * _WIDTH] = (4.5 if token == '"' else 4.0) if token in _SAID else -4.0
    layers = [
        tensor
        for layer in range(_LAYERS)
        for tensor in (
            ones(f"blk.{layer}.attn_norm.weight"),
            *(weights(f"blk.{layer}.attn_{part}.weight", _WIDTH, _WIDTH) for part in ("q", "k", "v", "output")),
            ones(f"blk.{layer}.ffn_norm.weight"),
            weights(f"blk.{layer}.ffn_gate.weight", _WIDTH, _HIDDEN),
            weights(f"blk.{layer}.ffn_up.weight", _WIDTH, _HIDDEN),
            weights(f"blk.{layer}.ffn_down.weight", _HIDDEN, _WIDTH),
        )
    ]
    return [embedding, ones("output_norm.weight"), output, *layers]


def _facts(tokens: Sequence[tuple[str, int]]) -> list[bytes]:
    names, kinds = [name for name, _ in tokens], [kind for _, kind in tokens]
    return [
        _fact("general.architecture", _STRING, _text("llama")),
        _fact("general.name", _STRING, _text("tiny")),
        _fact("llama.context_length", _UINT32, pack("<I", TRAINED_TOKENS)),
        _fact("llama.embedding_length", _UINT32, pack("<I", _WIDTH)),
        _fact("llama.block_count", _UINT32, pack("<I", _LAYERS)),
        _fact("llama.feed_forward_length", _UINT32, pack("<I", _HIDDEN)),
        _fact("llama.attention.head_count", _UINT32, pack("<I", _HEADS)),
        _fact("llama.attention.layer_norm_rms_epsilon", _FLOAT32, pack("<f", 1e-5)),
        _fact("llama.rope.dimension_count", _UINT32, pack("<I", _WIDTH // _HEADS)),
        _fact("tokenizer.ggml.model", _STRING, _text("llama")),
        _fact("tokenizer.ggml.tokens", _ARRAY, pack("<IQ", _STRING, len(names)) + b"".join(map(_text, names))),
        _fact("tokenizer.ggml.scores", _ARRAY, pack("<IQ", _FLOAT32, len(names)) + bytes(4 * len(names))),
        _fact("tokenizer.ggml.token_type", _ARRAY, pack(f"<IQ{len(kinds)}i", _INT32, len(kinds), *kinds)),
        _fact("tokenizer.ggml.unknown_token_id", _UINT32, pack("<I", 0)),
        _fact("tokenizer.ggml.bos_token_id", _UINT32, pack("<I", 1)),
        _fact("tokenizer.ggml.eos_token_id", _UINT32, pack("<I", 2)),
        _fact("tokenizer.ggml.add_space_prefix", _BOOL, pack("<?", False)),
    ]


def _fact(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + pack("<I", kind) + value


def _text(text: str) -> bytes:
    data = text.encode()
    return pack("<Q", len(data)) + data


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
