"""The prompts of this process, in memory: which version of each is in use, and every older one by its number."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import NotFound
from app.prompts.files import TemplateSet, load_templates
from app.prompts.prompt_version import PromptVersion, messages_used


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and all its versions by number. `current`: the one in use."""

    id: str
    current: int
    versions: Mapping[int, PromptVersion] = field(repr=False)


class PromptRegistry:
    """Finds a prompt by its id; asked before every call, so it never waits."""

    def __init__(self, prompts: Mapping[str, Prompt]) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    def get(self, prompt_id: str, version: int | None = None) -> PromptVersion:
        """The version in use, or this one. Raises NotFound."""
        prompt = self._prompts.get(prompt_id)
        found = None if prompt is None else prompt.versions.get(prompt.current if version is None else version)
        if found is None:
            raise NotFound("There is no prompt with this id." if prompt is None else "The prompt has no such version.")
        return found


def as_in_files(environment: str, extra: Path | None = None) -> PromptRegistry:
    """The prompts as the files have them, without a database. Raises StartRefused."""
    return PromptRegistry(prompts_of(load_templates(extra), environment))


def prompts_of(loaded: TemplateSet, environment: str) -> dict[str, Prompt]:
    """As the files have them, each in its first version."""
    prompts = {}
    for id_, template in loaded.templates.items():
        body = template.body
        version = PromptVersion(id_, 1, template.category, body, messages_used(body, loaded.messages), environment)
        prompts[id_] = Prompt(id_, 1, {1: version})
    return prompts
