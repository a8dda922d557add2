"""What a prompt template is: the form of its file, of its stored versions and of its shape on the wire.

Here is only what each part may look like by itself; how the parts fit together is `checking.py`'s. What shapes a
call is in `PromptBody`, and nothing else is: two templates with equal bodies are one version.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Strict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.prompts.variables import Variable
from app.web import StorableJson, Text, WireModel

PROMPT_ID = r"^[a-z][a-z0-9_-]{0,63}$"
NAME = r"^[a-z][a-z0-9_]{0,39}$"
PART_MAX_CHARS, PIECES_MAX, CASES_MAX = 20_000, 20, 50

PromptId = Annotated[str, StringConstraints(pattern=PROMPT_ID)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
PartText = Annotated[Text, StringConstraints(max_length=PART_MAX_CHARS)]
ModelName = Annotated[Text, StringConstraints(max_length=200, pattern=r"^[^/\s:]+/\S+$")]
Variant = Literal["openai", "anthropic", "local"]
DocumentRule = Literal["required", "optional", "none"]
# What is left of a text that is too long: `relevant` are the passages with the words of the variables in them.
Cut = Literal["spread", "head", "tail", "middle_out", "relevant"]


def _no_text(value: object) -> object:
    if isinstance(value, str | bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


# 2.0 is a whole number in JSON; "2" is none.
WholeNumber = Annotated[int, BeforeValidator(_no_text, json_schema_input_type=int)]


class Form(WireModel):
    """A part of a template: a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Piece(Form):
    """A piece of a system part: a system message by its name, or a text of the template's own."""

    message: Name | None = None
    text: PartText | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Piece":
        if (self.message is None) == (self.text is None):
            raise ValueError("must have either message, the name of a system message, or text")
        return self


Pieces = Annotated[tuple[Piece, ...], Field(min_length=1, max_length=PIECES_MAX)]


class Override(Form):
    """Parts that take the place of the template's; null leaves them as they are."""

    system: Pieces | None = None
    user: PartText | None = None


class ModelHints(Form):
    """What suits the prompt. Null: nothing is said. `models` are asked first, then the plan of `task`."""

    models: Annotated[tuple[ModelName, ...], Field(max_length=5)] = ()
    task: Name | None = None
    complexity: Literal["simple", "standard", "hard"] | None = None
    max_output_tokens: Annotated[WholeNumber, Field(ge=1, le=200_000)] | None = None
    temperature: Annotated[float, Strict(), Field(ge=0, le=2)] | None = None
    cut: Cut | None = None


class EnvironmentOverride(Override):
    """What is another one in this environment. Its variants go before the template's."""

    model: ModelHints | None = None
    variants: Annotated[dict[Variant, Override], Field(default_factory=dict)]


class PromptBody(Form):
    """Everything that shapes a call. `document`: whether a person's text goes with it."""

    variables: Annotated[dict[Name, Variable], Field(max_length=50, default_factory=dict)]
    document: DocumentRule = "none"
    model: ModelHints = ModelHints()
    system: Pieces
    user: PartText = ""
    variants: Annotated[dict[Variant, Override], Field(default_factory=dict)]
    environments: Annotated[
        dict[Literal["development", "production"], EnvironmentOverride], Field(default_factory=dict)
    ]


class AnswerExpectation(Form):
    """What holds of an answer. `json_keys`: it is a JSON object with these keys."""

    contains: tuple[PartText, ...] = ()
    absent: tuple[PartText, ...] = ()
    json_keys: tuple[Text, ...] = ()
    max_chars: Annotated[WholeNumber, Field(ge=1)] | None = None


class Expectation(Form):
    """What must hold: words in the parts, outside the person's text, and of the answer."""

    system: tuple[PartText, ...] = ()
    user: tuple[PartText, ...] = ()
    absent: tuple[PartText, ...] = ()
    answer: AnswerExpectation = AnswerExpectation()


class Case(Form):
    """A trial of the template. `stub_answer` stands for the model's where none is asked."""

    name: Annotated[Text, StringConstraints(min_length=1, max_length=100)]
    variables: Annotated[dict[Name, StorableJson], Field(default_factory=dict)]
    document: PartText | None = None
    stub_answer: PartText | None = None
    expect: Expectation = Expectation()


class Template(PromptBody):
    """A template as it is written: the body, what it is for, and its cases."""

    id: PromptId
    category: Name
    description: Annotated[Text, StringConstraints(max_length=500)] = ""
    cases: Annotated[tuple[Case, ...], Field(max_length=CASES_MAX)] = ()

    @property
    def body(self) -> PromptBody:
        return PromptBody.model_construct(**{name: getattr(self, name) for name in PromptBody.model_fields})
