"""Documents: parsed, validated and costed once, then known by the digest of their text.

Trusted documents, those of the contract, are prepared at start and always kept; of what
else is sent, the latest few hundred are. A document that is wrong is kept as well: being
told so again costs no validation.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    ValidationRule,
    VariableNode,
    Visitor,
    parse,
    specified_rules,
    validate,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails

from schema.cost import Cost, cost_of
from schema.errors import UNREADABLE, is_unreadable
from schema.limits import too_complex

_KEPT = 256
# What a document takes grows with its text: a character may take a hundred bytes.
_KEPT_CHARACTERS = 262_144
# No document of this many characters has few enough tokens, save for long texts, and those
# belong into variables. To read one, and to say where in it the errors are, takes long.
_LONGEST = 65_536
# Each error says where it is, and may print the whole value that is wrong.
_ERRORS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of a valid document, ready to run."""

    digest: str
    name: str | None
    type: OperationType
    node: OperationDefinitionNode
    fragment_definitions: dict[str, FragmentDefinitionNode]
    fragments: dict[str, FragmentDetails]
    cost: Cost
    # What each selection collects, filled by the first run; None where variables decide it.
    collected: dict[object, object] | None


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """What became of a text: its operations, or why it is none."""

    digest: str
    errors: tuple[GraphQLError, ...]
    operations: tuple[Operation, ...]
    characters: int

    def operation(self, name: str | None) -> Operation | None:
        """Return the operation of a name, or the only one where none is named."""
        if name is None:
            return self.operations[0] if len(self.operations) == 1 else None
        return next((each for each in self.operations if each.name == name), None)


class Documents:
    """Knows documents by the digest of their text."""

    def __init__(
        self,
        schema: GraphQLSchema,
        rules: Iterable[type[ValidationRule]],
        *,
        tokens: int,
        suggest: bool = True,
    ) -> None:
        self._schema = schema
        self._rules = (*specified_rules, *rules)
        self._tokens = tokens
        self._suggest = suggest
        self._trusted: dict[str, Document] = {}
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def trust(self, text: str) -> Document:
        """Prepare a document that may be asked for by its digest."""
        document = self._prepare(text, digest_of(text))
        self._trusted[document.digest] = document
        return document

    def trusted(self, digest: str) -> Document | None:
        """Return a trusted document."""
        return self._trusted.get(digest)

    def read(self, text: str, digest: str) -> Document:
        """Return the document of a text and its digest, prepared now or known from before."""
        known = self._trusted.get(digest) or self._kept.get(digest)
        if known is None:
            known = self._prepare(text, digest)
            self._kept[digest] = known
            self._characters += known.characters
            while len(self._kept) > _KEPT or self._characters > _KEPT_CHARACTERS:
                _, oldest = self._kept.popitem(last=False)
                self._characters -= oldest.characters
        elif digest in self._kept:
            self._kept.move_to_end(digest)
        return known

    def __len__(self) -> int:
        return len(self._kept)

    def _prepare(self, text: str, digest: str) -> Document:
        if len(text) > _LONGEST:
            return Document(digest, (too_complex("characters", _LONGEST),), (), 0)
        try:
            document = parse(text, max_tokens=self._tokens)
        except GraphQLError as error:
            return Document(digest, (error.with_traceback(None),), (), len(text))
        if not any(isinstance(node, OperationDefinitionNode) for node in document.definitions):
            # There is nothing to run: which is said before what is wrong with the rest.
            return Document(digest, (), (), len(text))
        errors = validate(
            self._schema,
            document,
            self._rules,
            max_errors=_ERRORS,
            hide_suggestions=not self._suggest,
        )
        if errors:
            return Document(digest, tuple(map(_without_nodes, errors)), (), len(text))
        return Document(digest, (), tuple(self._operations(document, digest)), len(text))

    def _operations(self, document: DocumentNode, digest: str) -> Iterable[Operation]:
        fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        is_fixed = not _depends_on_variables(document)
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode):
                yield Operation(
                    digest,
                    None if node.name is None else node.name.value,
                    node.operation,
                    node,
                    fragments,
                    {name: FragmentDetails(each, None) for name, each in fragments.items()},
                    cost_of(self._schema, node, fragments),
                    {} if is_fixed else None,
                )


def _without_nodes(error: GraphQLError) -> GraphQLError:
    """Return an error that says the same, and does not hold the whole document."""
    unreadable = error.original_error is not None and is_unreadable(error)
    return GraphQLError(
        UNREADABLE if unreadable else error.message,
        source=error.source,
        positions=error.positions,
        original_error=None if unreadable else error.original_error,
        extensions=error.extensions,
    )


def digest_of(text: str) -> str:
    """Return the digest by which a text is known."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _depends_on_variables(document: DocumentNode) -> bool:
    """Say whether which fields are selected depends on a request's variables."""
    found = False

    class Directives(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: object) -> None:
            nonlocal found
            found = found or any(
                isinstance(argument.value, VariableNode) for argument in node.arguments or ()
            )

    visit(document, Directives())
    return found
