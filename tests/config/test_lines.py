import tomllib

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.lines import key_lines

DOCUMENT = '''\
# [comment]
top = 1
dotted.key = 2

[section]   # with a comment [not] a { header
text = """
[fake]
fake = 1
quotes: "" """""
"quoted key" = '[x]'
list = [ # [
  "a]",
  'b[',
]
inline = { a = 1, "b" = [2] }
[[items]]
name = "one\\"]"

[[items]]
x = 1
name = """two"""
[a.b]
c = \'\'\'it's\'\'\'\'\'
last = 5'''


def test_lines_of_a_document_full_of_traps():
    lines = {path: line for path, line in key_lines(DOCUMENT).items() if path}
    assert lines == {
        ("top",): 2,
        ("dotted",): 3,
        ("dotted", "key"): 3,
        ("section",): 5,
        ("section", "text"): 6,
        ("section", "quoted key"): 10,
        ("section", "list"): 11,
        ("section", "inline"): 15,
        ("section", "inline", "a"): 15,
        ("section", "inline", "b"): 15,
        ("items", 0): 16,
        ("items", 0, "name"): 17,
        ("items", 1): 19,
        ("items", 1, "x"): 20,
        ("items", 1, "name"): 21,
        ("a", "b"): 22,
        ("a", "b", "c"): 23,
        ("a", "b", "last"): 24,
    }


WORD = st.text("abc", min_size=1, max_size=3)
VALUE = st.sampled_from(
    ["1", '"]"', "'#['", '"""\n]\n\n"""', "[\n1, # ]\n2\n]", "'''\n'''", '"\\""', "{x = 1}", '"""a"""""']
)
STATEMENT = st.one_of(
    st.builds("{} = {}".format, WORD, VALUE),
    st.builds("[{}] # x".format, WORD),
    st.builds("[[{}]]".format, WORD),
    st.sampled_from(["", "# [", "   "]),
)


@given(st.lists(STATEMENT, max_size=12))
def test_every_key_is_on_the_line_that_is_reported(statements):
    text = "\n".join(statements)
    try:
        tomllib.loads(text)
    except ValueError:
        return
    starts = {1 + "\n".join([*statements[:index], ""]).count("\n"): s for index, s in enumerate(statements)}
    for path, line in key_lines(text).items():
        name = next(part for part in reversed(path) if isinstance(part, str))
        assert name in starts[line]
