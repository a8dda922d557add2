"""Templates as files: what stops the start, and with which words; what a folder of one's own changes."""

from pathlib import Path

import pytest

from app.errors import StartRefused
from app.main import create_app
from app.prompts.files import SHIPPED, load_templates
from app.prompts.registry import as_in_files
from tests.conftest import make_settings
from tests.documents import blocks_of, text_of

GOOD = """\
id: greeting
category: example
variables:
  tone: {type: enum, values: [warm, cool]}
  name: {type: string, maximum: 20}
system:
  - message: base
  - text: |
      Greet in a {{ tone }} tone.
      Be brief.
user: |
  Greet {{ name }}.
cases:
  - name: warm
    variables: {tone: warm, name: Ann}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def refusal(folder: Path, text: str, name: str = "greeting.yaml") -> str:
    """What the start says of this file."""
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(StartRefused) as refused:
        load_templates(folder)
    return str(refused.value)


def test_what_ships_is_well() -> None:
    ids = {"enrichment", "query", "extraction", "image_prompt"}
    pack = {"character_background", "equipment_suggestions", "spell_recommendations"}
    assert set(load_templates().templates) == ids | pack


def test_the_template_of_the_guide_is_well(folder: Path) -> None:
    [template] = blocks_of(text_of("docs/prompts.md"), "yaml")
    (folder / "greeting.yaml").write_text(template)
    assert load_templates(folder).templates["greeting"].cases


def test_every_template_that_ships_has_two_cases() -> None:
    assert all(len(template.cases) >= 2 for template in load_templates().templates.values())


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("{{ name }}", "{{ nmae }}", 12, "user: nmae is no variable"),
        ("Be brief.", "Be {{ brief }}.", 10, "system.1.text: brief is no variable"),
        ("Be brief.", "Be as {{ name }} is.", 10, "name may stand in the user part only"),
        ("Be brief.", "Be {{ brief.", 10, "is no template that can be read"),
        ("Be brief.", "{% if tone %}", 10, "is no template that can be read"),
        ("{{ name }}", "{{ name.upper() }}", 12, "Call is not available"),
        ("{{ name }}", "{{ name.__class__ }}", 12, "attributes are not available"),
        ("{{ name }}", "{{ name * 9 }}", 12, "Mul is not available"),
        ("{{ name }}", "{{ name | sort }}", 12, "the filter sort is not available"),
        ("{{ name }}", "{{ [1] | join(attribute='x') }}", 12, "a filter takes plain values only"),
        ("{{ name }}", "{% for a in name %}{% for b in name %}x{% endfor %}{% endfor %}", 12, "a loop in a loop"),
        ("{{ name }}", "{% include 'x' %}", 12, "Include is not available"),
        ("{{ name }}", "{{ name | first | length | join }}", 12, "cannot be rendered with values of these types"),
        ("{{ name }}", f"{{{{ {'9' * 5000} }}}}", 12, "is no template that can be read"),
        ("{{ name }}", f"{{{{ {'(' * 300}name{')' * 300} }}}}", 12, "is no template that can be read"),
        ("{{ name }}", "{{ self }}", 12, "self is no variable"),
        ("category: example", "category: 2026-99-99", 1, "holds a value that is none of its type"),
        ("category: example", "category: &c [*c]", 1, "is too deep, or holds itself"),
        ("category: example", "categry: example", 2, "categry: Extra inputs are not permitted"),
        ("category: example", "category: [example]", 2, "category: Input should be a valid string"),
        ("category: example", "id: twice", 2, "id is there twice"),
        ("category: example", "category: 'example", 16, "is no YAML"),
        ("type: string", "type: text", 5, "variables.name.type: Input should be 'string'"),
        ("maximum: 20", "maximum: 20, values: [x]", 5, "values belong to an enum or a list"),
        ("maximum: 20", "maximum: 20, minimum: 21", 5, "minimum must not be above maximum"),
        ("maximum: 20", "maximum: 30000", 5, "maximum must not be above 20000"),
        ("maximum: 20", "default: 3", 5, "the default must be a string"),
        ("maximum: 20", "default: x, required: true", 5, "what is required has no default"),
        ("values: [warm, cool]", "minimum: 1, values: [warm]", 4, "an enum or a boolean has no minimum"),
        (", values: [warm, cool]", "", 4, "an enum needs values"),
        ("message: base", "message: bass", 7, "system.0.message: there is no system message bass"),
        ("message: base", "{message: base, text: both}", 7, "must have either message"),
        ("message: base", "{}", 7, "must have either message"),
        ("user: |\n  Greet {{ name }}.", "", 1, "user: is needed where no document is taken"),
        ("category: example", "category: example\ndocument: optional", 7, "must hold the message data"),
        ("tone: warm", "tone: hot", 15, "tone must be one of warm, cool"),
        ("tone: warm, ", "", 15, "tone is missing"),
        ("tone: warm, ", "tone: warm, tune: x, ", 15, "tune is no variable of this prompt"),
        ("name: warm", "document: none is taken\n    name: warm", 14, "document: is not taken by this prompt"),
    ],
)
def test_a_fault_stops_the_start_with_its_file_and_line(
    folder: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in GOOD
    told = refusal(folder, GOOD.replace(old, new, 1))
    assert f"{folder}/greeting.yaml:{line}: " in told and words in told


def test_every_fault_is_told_at_once(folder: Path) -> None:
    told = refusal(folder, GOOD.replace("{{ name }}", "{{ nmae }}").replace("tone: warm", "tone: hot"))
    assert "nmae is no variable" in told and "tone must be one of" in told


def test_a_file_that_is_empty_or_no_text_is_named(folder: Path) -> None:
    assert "greeting.yaml:1: is empty" in refusal(folder, "")
    (folder / "greeting.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(StartRefused, match=r"greeting\.yaml:1: cannot be read"):
        load_templates(folder)


def test_a_folder_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="LITEVAULT_PROMPTS_DIR"):
        load_templates(tmp_path / "none")


def test_a_file_with_the_short_ending_is_not_passed_over(folder: Path) -> None:
    (folder / "greeting.yml").write_text(GOOD)
    (folder / "system_messages.yml").write_text("base: Be kind.")
    loaded = load_templates(folder)
    assert "greeting" in loaded.templates and loaded.messages["base"] == "Be kind."


def test_one_id_in_two_files_is_refused(folder: Path) -> None:
    (folder / "another.yaml").write_text(GOOD)
    assert "greeting is in another file too" in refusal(folder, GOOD)


def test_two_cases_of_one_name_are_refused(folder: Path) -> None:
    told = refusal(folder, GOOD + "  - name: warm\n    variables: {tone: warm, name: Bob}\n")
    assert "greeting.yaml:16: cases.1.name: is the name of another case" in told


def test_a_folder_of_ones_own_adds_and_replaces(folder: Path) -> None:
    (folder / "greeting.yaml").write_text(GOOD)
    (folder / "system_messages.yaml").write_text("base: You are terse.\n")
    shipped = (SHIPPED / "image_prompt.yaml").read_text()
    (folder / "image_prompt.yaml").write_text(shipped.replace("Describe one picture", "Sketch one picture"))
    prompts = as_in_files("production", folder)
    system = prompts.get("image_prompt").render("openai", {}, "A boat.")[0]["content"]
    assert system.startswith("You are terse.") and "Sketch one picture" in system
    assert prompts.get("greeting").render("openai", {"tone": "cool", "name": "Ann"})[1]["content"] == "Greet Ann."


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("minimum: 100, maximum: 4000", "minimum: 500, maximum: 4000", "max_chars must be declared with the type"),
        ("max_chars: {type", "most_chars: {type", "max_chars must be declared with the type"),
        ("document: required", "document: optional", "document: must be required, as callers know it"),
        ("variables:\n", "variables:\n  mood: {type: string}\n", "mood is given by no caller"),
    ],
)
def test_what_replaces_a_template_takes_what_its_callers_give(folder: Path, old: str, new: str, words: str) -> None:
    shipped = (SHIPPED / "image_prompt.yaml").read_text()
    assert old in shipped and words in refusal(folder, shipped.replace(old, new), "image_prompt.yaml")


def test_bad_system_messages_are_refused(folder: Path) -> None:
    assert "system_messages.yaml:1: base" in refusal(folder, "base: [no, text]\n", "system_messages.yaml")


async def test_the_server_does_not_start_with_a_broken_template(
    database_url: str, tmp_path: Path, folder: Path
) -> None:
    (folder / "greeting.yaml").write_text(GOOD.replace("{{ name }}", "{{ nmae }}"))
    app = create_app(make_settings(database_url, tmp_path, prompts_dir=folder))
    with pytest.raises(StartRefused, match=r"greeting\.yaml:12: user: nmae is no variable"):
        async with app.router.lifespan_context(app):
            pass
