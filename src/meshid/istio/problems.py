"""What cannot be imported, collected."""

from __future__ import annotations

from meshid.errors import InvalidInput, Problem


class InvalidIstioPolicy(InvalidInput):
    """A file is no Istio policy, or says what a policy file cannot say exactly.

    Attributes:
        problems: Everything that is wrong, each with its file, document and field.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Collect *problems*; the text of the error lists them a line each."""
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        """List the problems a line each."""
        return "\n".join(map(str, self.problems))
