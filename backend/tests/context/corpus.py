"""A mixed corpus as people paste it into a vault, made from a seed, with facts planted that have to survive.

Notes, articles with what surrounds them on a page, logs, code, tables, chats and threads of mail. No text is longer or
more repetitive than its like in life: the saving that is measured over it is meant as an honest figure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

_NAMES = ("Marta Kowalska", "Jürgen Groß", "Anaïs Lefèvre", "Ýmir Þórsson", "Chen Wei", "Олег Панов", "Tomás O’Shea")
_SUBJECTS = ("the council", "our landlord", "the archive", "a reader", "the ferry company", "the school", "the museum")
_VERBS = ("postponed", "confirmed", "questioned", "published", "withdrew", "extended", "measured")
_OBJECTS = (
    "the plan for the harbour",
    "its report on noise",
    "the lease",
    "two exhibits",
    "the timetable",
    "the budget",
)
_ENDINGS = ("after a long debate", "without giving reasons", "as expected", "to general surprise", "in the end")
_PHRASES = ("We measured twice and cut once.", "Nobody asked the bees.", "The tide does not wait for minutes.")
_HOSTS = ("harbour.example.org", "docs.example.com", "news.example.net")


@dataclass(frozen=True, slots=True)
class Pasted:
    kind: str
    text: str
    facts: tuple[str, ...]


class Writer:
    """Writes sentences from a seed, and remembers the facts that it put into them."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)
        self.facts: list[str] = []

    def plant(self, fact: str) -> str:
        self.facts.append(fact)
        return fact

    def name(self) -> str:
        return self.plant(self.random.choice(_NAMES))

    def amount(self) -> str:
        return self.plant(
            f"€{self.random.randint(1, 99)},{self.random.randint(100, 999)}.{self.random.randint(10, 99)}"
        )

    def date(self) -> str:
        return self.plant(f"20{self.random.randint(10, 26)}-0{self.random.randint(1, 9)}-{self.random.randint(10, 28)}")

    def address(self) -> str:
        number = self.random.randint(100, 9_999)
        return self.plant(f"https://{self.random.choice(_HOSTS)}/reports--{number}?page={number % 7}#part_{number % 5}")

    def sentence(self) -> str:
        pick = self.random.choice
        return f"{pick(_SUBJECTS).capitalize()} {pick(_VERBS)} {pick(_OBJECTS)} {pick(_ENDINGS)}."

    def telling(self) -> str:
        """A sentence with a fact in it."""
        return self.random.choice(
            (
                lambda: f"{self.name()} will pay {self.amount()} by {self.date()}.",
                lambda: f"{self.name()} said: “{self.plant(self.random.choice(_PHRASES))}”",
                lambda: f"The figures of {self.date()} are at {self.address()} now.",
            )
        )()

    def paragraph(self, sentences: int) -> str:
        place = self.random.randrange(sentences)
        return " ".join(self.telling() if number == place else self.sentence() for number in range(sentences))


def note(write: Writer) -> str:
    points = "\n".join(f"-  {write.telling()}  " for _ in range(4))
    head = f"Meeting, {write.date()}\u00a0\n\n\n\n{write.paragraph(4)}   \n\n\n"
    return f"{head}{points}\n\n\n\n{write.paragraph(3)}\n \n \n"


def article(write: Writer) -> str:
    menu = "Home   News   Culture   Sport   Weather   Sign in\n"
    notice = "We and our partners use cookies to show you content that suits you. Accept all | Settings\n\n"
    break_ = "\n\nAdvertisement – the article continues below\n\n"
    letter = "Sign up for our newsletter and get the most important stories every morning.\n\n"
    related = "".join(f"Read also: {write.sentence()}\n" for _ in range(3))
    body = [write.paragraph(5) for _ in range(6)]
    return (
        f"{menu}\n{notice}{write.sentence()}\n\nBy {write.name()}, {write.date()}\n\n"
        f"{body[0]}\n\n{body[1]}{break_}{letter}{body[2]}\n\n{related}\n{body[3]}{break_}{letter}{body[4]}\n\n{body[5]}"
        f"\n\n{related}\n{letter}{menu}\n{notice}All rights reserved.    Imprint    Privacy\n"
    )


def log(write: Writer) -> str:
    lines: list[str] = []
    for minute in range(10, 22):
        lines.append(f"{write.date()} 08:{minute}:07,120 INFO  [worker-{minute % 3}]    job {minute * 7} done in 41 ms")
        if minute % 4 == 0:
            lines.append(f"{write.date()} 08:{minute}:09,003 ERROR [worker-1]    gave up: {write.address()}")
            lines += ["    at org.example.queue.Worker.run(Worker.java:212)"] * 3
            lines += [
                "    at org.example.queue.Pool.work(Pool.java:87)",
                "    at java.lang.Thread.run(Thread.java:1583)",
            ]
        if minute % 5 == 0:
            lines += ["Connection refused, waiting for the database to come back"] * write.random.randint(3, 6)
    return "\n".join(lines) + "\n"


def code(write: Writer) -> str:
    script = (
        "```python\n# Read the settings first, since everything below depends on them.\nimport json\n\n\n"
        f'SOURCE = "{write.address()}"  # where the reports are\n'
        f'NOTE = """\n# {write.plant("no comment but a heading")}\n"""\n'
        "\n\ndef total(rows):\n    # Go over all of the rows, one after the other, and add what they hold.\n"
        "    # Rows without an amount count for nothing.\n"
        f'    return sum(row.get("{write.plant("amount_due")}", 0) for row in rows)\n```\n'
    )
    page = (
        "```js\n/*\n * Shows the total on the page.\n * Called once the page has been loaded.\n */\n"
        "export function show(total) {\n  // The element is there as soon as the page is.\n"
        f"  const label = '// {write.plant('not a comment')}';\n"
        "  document.querySelector('#total').textContent = label + total;\n}\n```\n"
    )
    head = f"# How to add up the reports\n\n{write.paragraph(3)}\n\n"
    return f"{head}{script}\n{write.paragraph(2)}\n\n{page}\n{write.telling()}\n"


def table(write: Writer) -> str:
    def row(*cells: str) -> str:
        return "| " + " | ".join(cell.ljust(28) for cell in cells) + " |\n"

    rule = "|" + "|".join(":" + "-" * 29 for _ in range(4)) + "|\n"
    rows = "".join(row(write.name(), write.date(), write.amount(), write.sentence()[:28]) for _ in range(12))
    return f"{write.paragraph(2)}\n\n{row('Name', 'Since', 'Owes', 'Remark')}{rule}{rows}\n\n\n{write.paragraph(2)}\n"


def chat(write: Writer) -> str:
    said: list[str] = []
    lines: list[str] = []
    for minute in range(10, 34):
        if said and minute % 6 == 0:
            lines.append(f"> {said[-3 % len(said)]}")
        said.append(write.telling() if minute % 3 else write.sentence())
        lines.append(f"[09:{minute}]   {write.name()}:   {said[-1]}\n")
    return "\n".join(lines)


def mail(write: Writer) -> str:
    signature = (
        f"--\n{write.name()}\nHarbour Society, 4 Quay Street, Newhaven\n"
        "This message is confidential and meant only for the person to whom it is addressed.\n"
        "If it has reached you by mistake, please tell the sender and delete it.\n"
    )
    thread = ""
    for _ in range(4):
        quoted = "".join(f"> {line}\n" for line in thread.splitlines())
        head = f"On {write.date()} {write.name()} wrote:\n" if quoted else ""
        thread = f"{write.paragraph(3)}\n\n{write.telling()}\n\n{signature}\n{head}{quoted}"
    return thread


_KINDS: tuple[Callable[[Writer], str], ...] = (note, article, log, code, table, chat, mail)


def mixed_corpus(seed: int = 2026, *, texts_of_each_kind: int = 12) -> Iterator[Pasted]:
    for kind in _KINDS:
        for number in range(texts_of_each_kind):
            write = Writer(f"{seed}/{kind.__name__}/{number}")
            text = kind(write)
            yield Pasted(kind.__name__, text, tuple(dict.fromkeys(write.facts)))
