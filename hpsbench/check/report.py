"""What a check found, line by line."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """What a check found: ``lines`` of (level, message), level "ok", "warning" or "error"; ``ok`` where there is no error."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(level != "error" for level, _ in self.lines)

    def add(self, good: bool, message: str, otherwise: str = "error") -> None:
        """A line: "ok" where ``good``, else the level ``otherwise``."""
        self.lines.append(("ok" if good else otherwise, message))

    def __str__(self) -> str:
        return "\n".join(f"{level:<7} {message}" for level, message in self.lines)
