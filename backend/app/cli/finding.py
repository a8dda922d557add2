"""One line of `litevault check`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a part, with the mend where it is not well; `is_well` is None where nothing could be found."""

    part: str
    sentence: str
    is_well: bool | None = True

    def __str__(self) -> str:
        sign = {True: "✓", False: "✗", None: "–"}[self.is_well]
        return f"{sign} {self.part:<11} {self.sentence}"
