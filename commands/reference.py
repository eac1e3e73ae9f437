"""`python -m commands.reference > docs/parameters.md`: every parameter, from the schema."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.common.console import run_stage
from stages.common.params import PARAMS_PATH, Params, read_yaml

INTRODUCTION = """\
# Parameters

Every key of `params.yaml`, as the program checks it before anything runs. *Default* is the value in
the `params.yaml` that comes with the project. A key that is missing from the file is an error,
unless it is marked as optional here. NAME stands for a name that you choose.

This page is written by `python -m commands.reference > docs/parameters.md` from the schema that
checks the file, so please do not edit it by hand. [Editors](platforms.md#editors) use the same
schema to check the file as you type.
"""

Schema = Mapping[str, Any]
_NOUNS = {
    "integer": ("whole number", "whole numbers"),
    "number": ("number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("`true` or `false`", "`true` or `false`"),
    "object": ("mapping", "mappings"),
}


@dataclass(frozen=True)
class Row:
    """A key of params.yaml as a path, with what the schema says about it; `default` is Markdown."""

    key: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """Keys that belong together; `about` describes them where the schema does."""

    about: str
    rows: tuple[Row, ...]


def main() -> None:
    print(reference(Params.model_json_schema(), read_yaml(PARAMS_PATH.read_bytes())), end="")


def reference(schema: Schema, values: Mapping[str, Any]) -> str:
    """The page as Markdown.

    Args:
        schema: JSON schema of params.yaml.
        values: The content of params.yaml, for the column of defaults.
    """
    reader = _Reader(schema.get("$defs", {}))
    lines = [INTRODUCTION]
    for name, field in schema["properties"].items():
        lines.append(f"## {name}\n")
        for table in reader.tables(name, field, values.get(name)):
            if table.about:
                lines.append(f"{table.about}\n")
            lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
            lines += [f"| `{r.key}` | {r.kind} | {r.default} | {r.meaning} |" for r in table.rows]
            lines.append("")
    return "\n".join(lines)


class _Reader:
    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def resolve(self, schema: Schema) -> Schema:
        """The definition that a reference names, with the keys that stand beside the reference."""
        if "$ref" not in schema:
            return schema
        name = schema["$ref"].rpartition("/")[2]
        return {**self._definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}

    def tables(self, name: str, schema: Schema, value: Any) -> Iterator[Table]:
        """The table for a top-level key, or one for each kind of mapping that it may be."""
        for option in self._options(self.resolve(schema)):
            about = _one_line(option.get("description", ""))
            # Only a section whose keys are all known has defaults; what a user adds has none.
            inner = value if option.get("additionalProperties") is False else None
            yield Table(about, tuple(self.rows(name, option, inner, is_optional=False)))

    def rows(self, key: str, schema: Schema, value: Any, *, is_optional: bool) -> Iterator[Row]:
        """A row for a value; for a mapping, one for itself and those of what it holds."""
        schema = self.resolve(schema)
        options = self._options(schema)
        mappings = [option for option in options if _is_mapping(option)]
        optional = ", optional" if is_optional else ""
        meaning = _one_line(schema.get("description", ""))
        if len(mappings) < len(options):
            yield Row(key, self._kind(schema) + optional, _default(value), meaning)
        inner = value if isinstance(value, dict) else {}
        for option in mappings:
            if len(mappings) == len(options) and "." in key:
                about = meaning or _one_line(option.get("description", ""))
                yield Row(key, f"mapping{optional}", "", about)
            required = option.get("required", ())
            for name, field in option.get("properties", {}).items():
                yield from self.rows(
                    f"{key}.{name}", field, inner.get(name), is_optional=name not in required
                )
            for field in _named_by_the_user(option):
                yield from self.rows(f"{key}.NAME", field, None, is_optional=False)
            if option.get("additionalProperties") is True:
                yield Row(f"{key}.ARGUMENT", "any, optional", "", _further_arguments(option))

    def _options(self, schema: Schema) -> Sequence[Schema]:
        options = schema.get("oneOf") or schema.get("anyOf") or (schema,)
        found = [self.resolve(option) for option in options]
        # None stands for a key that is missing.
        return [option for option in found if option.get("type") != "null"]

    def _kind(self, schema: Schema, n: int = 0) -> str:
        """The type in words; n is 0 for one value, 1 for several."""
        kinds = []
        for option in self._options(schema):
            if "enum" in option or "const" in option:
                kinds += [f"`{json.dumps(v)}`" for v in option.get("enum", [option.get("const")])]
            elif option.get("type") == "array":
                kinds.append(f"list of {self._kind(option.get('items', {}), 1)}")
            elif _is_mapping(option):
                kinds.append("mapping")
            else:
                kinds.append(
                    _NOUNS.get(option.get("type", ""), ("any", "any"))[n] + _limits(option)
                )
        *most, last = [kind.replace('"', "") for kind in kinds]
        return f"{', '.join(most)} or {last}" if most else last


def _is_mapping(schema: Schema) -> bool:
    return schema.get("type") == "object"


def _named_by_the_user(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("patternProperties", {}).values()
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"]


def _limits(schema: Schema) -> str:
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema.get("type") == "integer" and above is not None:
        lowest, above = above + 1, None
    if lowest is not None and highest is not None:
        return f" ({lowest} to {highest})"
    limits = {"at least": lowest, "above": above, "at most": highest, "below": below}
    words = [f"{word} {limit}" for word, limit in limits.items() if limit is not None]
    return f" ({', '.join(words)})" if words else ""


def _further_arguments(schema: Schema) -> str:
    what = "function" if schema.get("title") == "OwnModel" else "class"
    return f"An argument of the {what}, under its own name."


def _default(value: Any) -> str:
    return (
        ""
        if value is None or isinstance(value, dict)
        else f"`{json.dumps(value)}`".replace('"', "")
    )


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    run_stage(main)
