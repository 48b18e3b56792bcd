"""Let a reader of a pipe stop early: pure.

Under `pipefail`, `… | grep -q x` and `… | head -1` fail when the program on the left still writes: SIGPIPE
ends it, and 141 becomes the status of the pipeline. Without `pipefail`, `pytest | tail -5` passes even
if pytest fails. Bash has nothing in between, so every part of a pipeline but the last is put into a subshell
of its own here, in which 141 becomes 0. Nothing else changes: the last part runs where it ran, lines keep
their numbers, and `set -e`, `||` and `if` see the status of the pipeline as ever.

The shell's grammar is followed as far as it takes to find the parts. A block that is not understood stays as
it is. So do backquotes with a backslash in them, arithmetic, and the text of a here document.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_BEFORE = "{ __e=$-; set +e; (case $__e in *e*) set -e;; esac; "
_AFTER = "); exit $(($? == 141 ? 0 : $?)); }"
_BLANK = re.compile(r"(?:[ \t]|\\\n)*")
_OPERATOR = re.compile(r"&&|\|\||\|&|;;&|;;|;&|[|&;\n()]")
_REDIRECTION = re.compile(r"(?:\{\w+\}|\d+)?(?:&>>|&>|<<<|<<-|<<|<>|<&|>>|>&|>\||<(?!\()|>(?!\())")
_RESERVED = re.compile(r"(?:\{|\}|!|\[\[|[a-z]+)(?=[\s;&|()<>]|$)")
_PLAIN = re.compile(r"[^\s\\'\"`$;&|()<>@?*+!=]+")
_QUOTES = re.compile(r"'[^']*'")
_DOLLAR_QUOTES = re.compile(r"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_ENDS = frozenset({"", ")", "`", ";;", ";&", ";;&"})
_DEEPEST = 60


def let_readers_stop(block: str) -> str:
    """The block, in which a part of a pipeline may end by SIGPIPE, unless it is the last part."""
    scanner = _Scanner(block)
    try:
        scanner.read_list(frozenset({""}))
    except _NotUnderstoodError:
        return block
    pieces, at = [], 0
    for position, _, added in sorted(scanner.additions):
        pieces += [block[at:position], added]
        at = position
    return "".join([*pieces, block[at:]])


class _NotUnderstoodError(Exception):
    pass


class _Scanner:
    """Follows the grammar of bash from `at` on. `additions` are (position, rank at that position, text)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.additions: list[tuple[int, int, str]] = []
        self._documents: list[tuple[str, bool]] = []
        self._depth = 0
        self._backquoted = False

    # Lists and pipelines

    def read_list(self, ends: frozenset[str]) -> str:
        """Read commands up to one of these words or operators, and past it; "" is the end of the text."""
        with self._enter_nesting():
            while True:
                self._skip_separators()
                end = self._peek_end()
                if end is not None and end in ends:
                    self.at += len(end)
                    return end
                if end is not None and end in _ENDS:
                    raise _NotUnderstoodError
                self._read_pipeline()

    def _read_pipeline(self) -> None:
        while self._peek_reserved() in ("!", "time"):
            self.at += len(self._peek_reserved())
            self._skip_blanks()
            if self.text.startswith("-p ", self.at):
                self.at += 3
                self._skip_blanks()
        while True:
            begin = self.at
            self._read_command()
            end = self.at
            self._skip_blanks()
            if self._peek_operator() not in ("|", "|&"):
                return
            if end == begin:
                raise _NotUnderstoodError
            # At one position, the inner of two parts begins last and ends first.
            self.additions += [(begin, self._depth, _BEFORE), (end, -self._depth, _AFTER)]
            self.at += len(self._peek_operator())
            self._skip_separators(newlines_only=True)

    def _skip_separators(self, *, newlines_only: bool = False) -> None:
        while True:
            self._skip_blanks()
            if self.text.startswith("#", self.at):
                self._skip_comment()
            elif self.text.startswith("\n", self.at):
                self.at += 1
                self._skip_documents()
            elif not newlines_only and self._peek_operator() in (";", "&", "&&", "||"):
                self.at += len(self._peek_operator())
            else:
                return

    def _skip_blanks(self) -> None:
        self.at = self._match(_BLANK).end()

    def _skip_comment(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _skip_documents(self) -> None:
        for delimiter, indented in self._documents:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                line = self.text[self.at :] if end < 0 else self.text[self.at : end]
                self.at = len(self.text) if end < 0 else end + 1
                if (line.lstrip("\t") if indented else line) == delimiter:
                    break
        self._documents.clear()

    def _peek_end(self) -> str | None:
        if self.at >= len(self.text):
            return ""
        if self._backquoted and self.text[self.at] == "`":
            return "`"
        operator = self._peek_operator()
        return operator if operator and operator in _ENDS else self._peek_reserved() or None

    def _peek_operator(self) -> str:
        found = _OPERATOR.match(self.text, self.at)
        # `&>` and `&>>` are redirections.
        return "" if found is None or self.text.startswith("&>", self.at) else found.group()

    def _peek_reserved(self) -> str:
        found = _RESERVED.match(self.text, self.at)
        return "" if found is None else found.group()

    # Commands

    def _read_command(self) -> None:
        with self._enter_nesting():
            if self.text.startswith("((", self.at):
                self._skip_arithmetic()
            elif self.text.startswith("(", self.at):
                self.at += 1
                self.read_list(frozenset({")"}))
            elif not self._read_compound(self._peek_reserved()):
                self._read_simple(may_define=True)
                return
            self._read_simple(may_define=False)

    def _read_compound(self, word: str) -> bool:
        """Read a compound command that begins with this word; False when none does."""
        begin = self.at
        self.at += len(word)
        match word:
            case "{":
                self.read_list(frozenset({"}"}))
            case "if":
                self.read_list(frozenset({"then"}))
                while self.read_list(frozenset({"elif", "else", "fi", "then"})) != "fi":
                    pass
            case "while" | "until":
                self.read_list(frozenset({"do"}))
                self.read_list(frozenset({"done"}))
            case "for" | "select":
                self._read_for()
            case "case":
                self._read_case()
            case "[[":
                self._skip_condition()
            case "function":
                self._skip_blanks()
                self._read_word()
                self._skip_blanks()
                self._read_definition()
            case "coproc":
                raise _NotUnderstoodError
            case _:
                self.at = begin
                return False
        return True

    def _read_for(self) -> None:
        self._skip_blanks()
        if self.text.startswith("((", self.at):
            self._skip_arithmetic()
        else:
            self._read_simple(may_define=False)
        self._skip_separators()
        opened = self._peek_reserved()
        if opened not in ("do", "{"):
            raise _NotUnderstoodError
        self.at += len(opened)
        self.read_list(frozenset({"done" if opened == "do" else "}"}))

    def _read_case(self) -> None:
        self._skip_blanks()
        self._read_word()
        self._skip_separators(newlines_only=True)
        if self._peek_reserved() != "in":
            raise _NotUnderstoodError
        self.at += len("in")
        while True:
            self._skip_separators(newlines_only=True)
            if self._peek_reserved() == "esac":
                self.at += len("esac")
                return
            if self.text.startswith("(", self.at):
                self.at += 1
            self._skip_patterns()
            if self.read_list(frozenset({";;", ";&", ";;&", "esac"})) == "esac":
                return

    def _skip_patterns(self) -> None:
        while True:
            self._skip_blanks()
            if self.text.startswith(")", self.at):
                self.at += 1
                return
            if self.text.startswith("|", self.at):
                self.at += 1
            else:
                self._read_word()

    def _skip_condition(self) -> None:
        while True:
            self._skip_blanks()
            if self._peek_word() == "]]":
                self.at += 2
                return
            if self.at < len(self.text) and self.text[self.at] in "|&()<>\n":
                self.at += 1
            else:
                self._read_word()

    def _peek_word(self) -> str:
        return re.compile(r"\S*?(?=[\s;&|()<>]|$)").match(self.text, self.at).group()  # type: ignore[union-attr]

    def _read_simple(self, *, may_define: bool) -> None:
        """Read words and redirections up to an operator; after one word, `()` begins a function."""
        words, end = 0, self.at
        while True:
            self._skip_blanks()
            redirection = _REDIRECTION.match(self.text, self.at)
            if redirection is not None:
                self.at = redirection.end()
                self._read_target(redirection.group())
            elif may_define and words == 1 and self.text.startswith("(", self.at):
                self._read_definition()
                return
            elif self._is_at_end_of_command():
                break
            else:
                self._read_word()
                words += 1
            end = self.at
        self.at = end

    def _is_at_end_of_command(self) -> bool:
        if self.at >= len(self.text) or self._peek_operator() or self.text[self.at] == "#":
            return True
        return self._backquoted and self.text[self.at] == "`"

    def _read_definition(self) -> None:
        found = re.compile(r"\([ \t]*\)").match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        self._skip_separators(newlines_only=True)
        self._read_command()

    def _read_target(self, redirection: str) -> None:
        self._skip_blanks()
        begin = self.at
        self._read_word()
        if redirection.endswith(("<<", "<<-")) and not redirection.endswith("<<<"):
            delimiter = re.sub(r"\\(.)|['\"]", r"\1", self.text[begin : self.at])
            self._documents.append((delimiter, redirection.endswith("-")))

    # Words

    def _read_word(self) -> None:
        begin = self.at
        while self.at < len(self.text) and self._read_part_of_word(self.text[self.at]):
            pass
        if self.at == begin:
            raise _NotUnderstoodError

    def _read_part_of_word(self, character: str) -> bool:
        plain = _PLAIN.match(self.text, self.at)
        if plain is not None:
            self.at = plain.end()
        elif character == "\\":
            self.at += 2
        elif character == "'":
            self.at = self._match(_QUOTES).end()
        elif character == '"':
            self._read_quoted()
        elif character == "$":
            self._read_expansion()
        elif character == "`":
            return self._read_backquotes()
        elif character in "@?*+!=":
            self.at += 1
            if self.text.startswith("(", self.at):
                self._skip_balanced("(", ")")
        elif self.text.startswith(("<(", ">("), self.at):
            self.at += 2
            self.read_list(frozenset({")"}))
        else:
            return False
        return True

    def _read_quoted(self) -> None:
        self.at += 1
        while self._character() != '"':
            match self._character():
                case "\\":
                    self.at += 2
                case "$":
                    self._read_expansion(quoted=True)
                case "`" if not self._read_backquotes():
                    raise _NotUnderstoodError
                case "`":
                    pass
                case _:
                    self.at += 1
        self.at += 1

    def _read_expansion(self, *, quoted: bool = False) -> None:
        if self.text.startswith("$((", self.at):
            self.at += 1
            self._skip_arithmetic()
        elif self.text.startswith("$(", self.at):
            self.at += 2
            with self._leave_backquotes():
                self.read_list(frozenset({")"}))
        elif self.text.startswith("${", self.at):
            self.at += 1
            self._skip_balanced("{", "}")
        elif self.text.startswith("$'", self.at) and not quoted:
            self.at = self._match(_DOLLAR_QUOTES).end()
        else:
            self.at += 1

    def _read_backquotes(self) -> bool:
        if self._backquoted:
            return False
        end = self.text.find("`", self.at + 1)
        if end < 0:
            raise _NotUnderstoodError
        if "\\" in self.text[self.at : end]:
            found = self._match(re.compile(r"`(?:[^`\\]|\\.)*`", re.DOTALL))
            self.at = found.end()
            return True
        self.at += 1
        self._backquoted = True
        self.read_list(frozenset({"`"}))
        self._backquoted = False
        return True

    def _skip_arithmetic(self) -> None:
        self._skip_balanced("(", ")")
        if not self.text.endswith("))", 0, self.at):
            raise _NotUnderstoodError

    def _skip_balanced(self, opening: str, closing: str) -> None:
        """Skip from an opening bracket to its closing one; commands in between are read."""
        depth = 0
        while True:
            character = self._character()
            if character in "\\'\"$`":
                self._read_part_of_word(character)
                continue
            self.at += 1
            depth += {opening: 1, closing: -1}.get(character, 0)
            if depth == 0:
                return

    # Helpers

    def _character(self) -> str:
        if self.at >= len(self.text):
            raise _NotUnderstoodError
        return self.text[self.at]

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise _NotUnderstoodError
        return found

    @contextmanager
    def _enter_nesting(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NotUnderstoodError
        yield
        self._depth -= 1

    @contextmanager
    def _leave_backquotes(self) -> Iterator[None]:
        before, self._backquoted = self._backquoted, False
        yield
        self._backquoted = before
