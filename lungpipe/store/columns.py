"""How a column of a workspace's table is declared: its type, its unit, and what it may hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Dtype = Literal["str", "int64", "Int64", "float64"]
#: Cells of one row, or of all rows of a table; what compares them with operators does not tell the two apart.
Cells = Any


@dataclass(frozen=True, slots=True)
class OneOf:
    """A closed list of values; ``""`` stands for an empty cell."""

    values: tuple[str, ...] | tuple[int, ...]

    @property
    def words(self) -> str:
        """What is allowed, for people."""
        return ", ".join("empty" if value == "" else str(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class ListOf:
    """Values of a closed list, joined by ``;``, none repeated; empty for none.

    Parameters
    ----------
    values : tuple of str
    said : str
        Where the list is kept: it is too long to be spelt out.
    """

    values: tuple[str, ...]
    said: str

    @property
    def words(self) -> str:
        """What is allowed, for people."""
        return f"{self.said}, joined by ; and none twice, or empty"


@dataclass(frozen=True, slots=True)
class Matches:
    """A text of a certain form.

    Parameters
    ----------
    pattern : str
        Regular expression that the whole cell matches.
    words : str
        The same for people.
    """

    pattern: str
    words: str


@dataclass(frozen=True, slots=True)
class Between:
    """A number from ``low`` to ``high``, both included unless ``above``: then it is larger than ``low``."""

    low: float
    high: float = math.inf
    above: bool = False

    @property
    def words(self) -> str:
        """What is allowed, for people."""
        if math.isinf(self.high):
            return f"{'more than' if self.above else 'at least'} {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


Rule = OneOf | ListOf | Matches | Between


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
    dtype : {"str", "int64", "Int64", "float64"}
        Pandas dtype.
    unit : str
        ``"1"`` for a number without dimension, empty for text.
    meaning : str
        One line.
    example : str, int, float or None
        A value that the rule allows.
    rule : Rule, optional
        Without one, every value of the type is allowed.
    nullable : bool
        Whether a value may be missing (NaN, NA).
    """

    name: str
    dtype: Dtype
    unit: str
    meaning: str
    example: str | int | float | None
    rule: Rule | None = None
    nullable: bool = False

    @property
    def allowed(self) -> str:
        """What a cell may hold, for people."""
        words = self.rule.words if self.rule else "any text" if self.dtype == "str" else "any number"
        return f"{words}, or missing" if self.nullable else words


@dataclass(frozen=True, slots=True)
class Relation:
    """What must hold between the columns of a row.

    Parameters
    ----------
    words : str
        For people: what holds.
    holds : callable
        From a table to one bool a row, or from a row, with NaN for a missing number, to one bool: it compares cells with
        operators alone.
    """

    words: str
    holds: Callable[[Cells], Cells]


@dataclass(frozen=True, slots=True)
class Further:
    """Columns that a table may have beyond the declared ones.

    Parameters
    ----------
    prefix : str
        What their names begin with.
    dtypes : tuple of {"float64", "str"}
        Types that they may have.
    meaning : str
        What one is, for people.
    """

    prefix: str
    dtypes: tuple[Dtype, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Schema:
    """What one table of a workspace holds.

    Parameters
    ----------
    meaning : str
        What a row is.
    declared : tuple of Column
        In the order of the table.
    keys : tuple of str
        Columns that tell a row from every other; empty where rows may repeat.
    relations : tuple of Relation
    sorted : bool
        Whether rows are sorted by the keys; if not, they have an order of their own.
    open : bool
        Whether further float64 columns (features) may follow.
    optional : bool
        Whether a finished run can be without it: it comes with the ``[benchmark]`` section of a recipe.
    further : tuple of Further
        Columns that may follow, by the beginning of their names.
    """

    meaning: str
    declared: tuple[Column, ...]
    keys: tuple[str, ...]
    relations: tuple[Relation, ...] = ()
    sorted: bool = True
    open: bool = False
    optional: bool = False
    further: tuple[Further, ...] = ()

    def dtype_of(self, name: str, found: object) -> Dtype | None:
        """Type of a column beyond the declared ones, given the one that it has; None if the table may not hold it."""
        for kind in self.further:
            if name.startswith(kind.prefix) and len(name) > len(kind.prefix):
                numeric = str(found) in {"float64", "int64", "Int64"}
                return "float64" if numeric or "str" not in kind.dtypes else "str"
        return "float64" if self.open else None

    @property
    def columns(self) -> Mapping[str, Dtype]:
        """Pandas dtype of each column, in order."""
        return {column.name: column.dtype for column in self.declared}

    @property
    def example(self) -> dict[str, str | int | float | None]:
        """A row that keeps the contract."""
        return {column.name: column.example for column in self.declared}
