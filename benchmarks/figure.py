"""What a measurement yields: a figure, the bound from the same run, and whether the target is met."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """`target` bounds `value`, or value / bound where `of_bound`; without a target it is told for information."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    bound_name: str = ""
    target: float | None = None
    is_better: Literal["more", "less"] = "more"
    of_bound: bool = False

    @property
    def ratio(self) -> float | None:
        return None if not self.bound else self.value / self.bound

    @property
    def met(self) -> bool | None:
        """None without a target."""
        judged = self.ratio if self.of_bound else self.value
        if self.target is None or judged is None:
            return None
        return judged >= self.target if self.is_better == "more" else judged <= self.target

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def print_table(figures: Sequence[Figure]) -> None:
    table = Table(title="LiteVault, measured", title_justify="left")
    table.add_column("figure")
    for heading in ("ours", "bound", "ratio", "target"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure in figures:
        table.add_row(*_row(figure))
    # Wide enough for a file too: a table cut to 80 columns loses its figures.
    Console(width=150).print(table)


def _row(figure: Figure) -> list[str]:
    bound = "" if figure.bound is None else f"{_number(figure.bound)} {figure.bound_name}".strip()
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = {True: "met", False: "NOT MET", None: ""}[figure.met]
    return [figure.name, f"{_number(figure.value)} {figure.unit}", bound, ratio, _target(figure), verdict]


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    sign = "≥" if figure.is_better == "more" else "≤"
    return f"{sign} {_number(figure.target)}" + (" of bound" if figure.of_bound else "")


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie; infinite for none, so that nothing measured meets nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")
