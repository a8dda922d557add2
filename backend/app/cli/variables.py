"""Which variables are settings, and which only look like one: a misspelt setting is otherwise silently ignored."""

import os
from difflib import get_close_matches

from pydantic_settings import DotEnvSettingsSource

from app.config import ENV_FILES, LLMSettings, Settings, variable_of

_OURS = "LITEVAULT_"
_NOT_SETTINGS = ("LITEVAULT_TEST_",)


def known_variables() -> list[str]:
    """Every variable that is read, in the order of the settings."""
    own = [variable_of(Settings, name) for name in Settings.model_fields if name != "llm"]
    return own + [variable_of(LLMSettings, name) for name in LLMSettings.model_fields]


def unknown_variables() -> list[str]:
    """A sentence for each variable in the environment or `.env` that is called like a setting and is none."""
    known = known_variables()
    sentences = []
    for name, place in sorted(_set_variables().items()):
        if name.startswith(_OURS) and not name.startswith(_NOT_SETTINGS) and name not in known:
            nearest = get_close_matches(name, known, n=1, cutoff=0.75)
            mend = f"did you mean {nearest[0]}?" if nearest else "see .env.example, or remove it"
            sentences.append(f"{name} in {place} is no setting: {mend}")
    return sentences


def _set_variables() -> dict[str, str]:
    """The name in capitals → where it was found; the environment wins, as it does for the settings."""
    found: dict[str, str] = {}
    for file in ENV_FILES:
        try:
            found |= dict.fromkeys((name.upper() for name in DotEnvSettingsSource(Settings, file).env_vars), str(file))
        except (OSError, UnicodeDecodeError):
            continue  # the settings themselves have complained of it
    return found | dict.fromkeys((name.upper() for name in os.environ), "the environment")
