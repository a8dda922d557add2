"""The peer of the gateway: LiteLLM's proxy, in an environment of its own that is no part of this project.

It is installed once, beside what else this user's programs keep, in the release of litellm that LiteVault itself uses.
"""

import asyncio
import os
import secrets
import sys
from importlib.metadata import version
from pathlib import Path

import orjson

from benchmarks.processes import Server
from tests.postgres_cluster import find_free_port

ALIVE = "/health/liveliness"
_BOOTSTRAP = Path(__file__).resolve().parents[1] / "bootstrap.py"
_INSTALL_SECONDS = 900


class NotInstalled(Exception):
    """Its last words are the installer's."""


async def installed_proxy() -> Path:
    """The program. Raises NotInstalled, where there is no network above all."""
    release = version("litellm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "litevault-bench" / f"litellm-proxy-{release}-python{sys.version_info[0]}.{sys.version_info[1]}"
    program, whole = folder / "bin" / "litellm", folder / "installed"
    if not whole.exists():
        await _uv("venv", "--clear", "--python", sys.executable, str(folder))
        await _uv("pip", "install", "--python", str(folder / "bin" / "python"), f"litellm[proxy]=={release}")
        whole.touch()
    return program


async def _uv(*arguments: str) -> None:
    command = (sys.executable, str(_BOOTSTRAP), "uv", *arguments)
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(_INSTALL_SECONDS):
            output, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        raise NotInstalled(f"not within {_INSTALL_SECONDS} s") from None
    if child.returncode:
        raise NotInstalled(output.decode(errors="replace").strip()[-500:])


def start_proxy(program: Path, folder: Path, *, model: str, upstream: str) -> tuple[Server, str]:
    """The proxy as its documentation runs it, but for the database, and the key that it asks for."""
    key = f"sk-{secrets.token_hex(24)}"
    known = {"model": f"openai/{model}", "api_base": upstream, "api_key": "bench"}
    settings = {"model_list": [{"model_name": model, "litellm_params": known}]}
    configuration = folder / "proxy.yaml"
    configuration.write_bytes(orjson.dumps(settings))  # JSON is YAML
    environment = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "PYTHONPATH": "",
    }
    port = find_free_port()
    command = [str(program), "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
    return Server([*command, "--telemetry", "False"], environment, folder / "proxy.log", port), key
