"""The cost of a method in passes of the model, as a value that prints and that numbers can be put into."""

import re
from dataclasses import dataclass

TOKEN = re.compile(r"\d+|[A-Za-z]+|[+()]")
Terms = dict[tuple[str, ...], int]  # a sum of products: the letters of each product, sorted, and its factor


@dataclass(frozen=True)
class Cost:
    """A sum of products of whole numbers and letters, written as in `1 forward + n (forward + K backward)`.

    `forward` and `backward` are passes, and `tail` is the part of a forward pass after a hidden signal; other letters
    are numbers of things, such as n repetitions and K units.

    Raises:
        ValueError: the text is not such a sum.
    """

    text: str

    def __post_init__(self) -> None:
        self.terms()

    def __str__(self) -> str:
        return self.text

    def passes(self, **numbers: float) -> float:
        """The value for numbers in place of the letters: `cost.passes(forward=0.6, backward=0.7, n=5, K=1)`."""
        total = 0.0
        for letters, factor in self.terms().items():
            product = float(factor)
            for letter in letters:
                product *= numbers[letter]
            total += product
        return total

    @property
    def letters(self) -> frozenset[str]:
        """What it depends on: `forward`, `backward`, `tail` and the numbers of things."""
        return frozenset(letter for product in self.terms() for letter in product)

    def terms(self) -> Terms:
        """The sum with all brackets multiplied out."""
        tokens = TOKEN.findall(self.text)
        if "".join(tokens) != self.text.replace(" ", ""):
            raise ValueError(f"{self.text!r} is not a cost: write it as in '1 forward + n (forward + K backward)'.")
        found, rest = _sum(tokens)
        if rest:
            raise ValueError(f"{self.text!r} is not a cost: {' '.join(rest)!r} is left over.")
        return found


def _sum(tokens: list[str]) -> tuple[Terms, list[str]]:
    """The sum at the start of tokens, and the tokens after it."""
    total: Terms = {}
    while True:
        product, tokens = _product(tokens)
        for letters, factor in product.items():
            total[letters] = total.get(letters, 0) + factor
        if not tokens or tokens[0] != "+":
            return total, tokens
        tokens = tokens[1:]


def _product(tokens: list[str]) -> tuple[Terms, list[str]]:
    """The product at the start of tokens, and the tokens after it."""
    product: Terms = {(): 1}
    number = len(tokens)
    while tokens and tokens[0] not in "+)":
        if tokens[0] == "(":
            factor, tokens = _sum(tokens[1:])
            if not tokens:
                raise ValueError("A cost has a bracket that is not closed.")
        else:
            factor = {(): int(tokens[0])} if tokens[0].isdigit() else {(tokens[0],): 1}
        tokens = tokens[1:]
        product = {tuple(sorted((*a, *b))): x * y for a, x in product.items() for b, y in factor.items()}
    if len(tokens) == number:
        raise ValueError("A cost has an empty sum.")
    return product, tokens
