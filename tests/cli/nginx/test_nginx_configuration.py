"""A configuration is read as nginx reads it, or not at all."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.cli.nginx import nginx_configuration
from meshid.cli.nginx.nginx_configuration import Configuration, Directive, read_configuration
from meshid.errors import InvalidInput
from tests.helpers.proxies import documented
from tests.helpers.proxies import nginx_configuration as whole


def shown(directives: tuple[Directive, ...]) -> list[object]:
    """Return a tree as lists, for a comparison."""
    return [str(each) if each.block is None else [str(each), *shown(each.block)] for each in directives]


def read(text: str) -> list[object]:
    return shown(read_configuration(text).directives)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "tree"),
        [
            pytest.param("", [], id="nothing"),
            pytest.param("# listen 80;\n\n", [], id="a comment"),
            pytest.param("listen 80;listen 81 ssl;", ["listen 80", "listen 81 ssl"], id="two"),
            pytest.param("a { b c; d { } }", [["a", "b c", ["d"]]], id="blocks"),
            pytest.param("return 200 'a; b { c'; x;", ["return 200 a; b { c", "x"], id="quotes"),
            pytest.param('return "it\\"s # 1";', ['return it"s # 1'], id="an escaped quote"),
            pytest.param("a 'it\\'s';", ["a it's"], id="the other quote"),
            pytest.param("a b\\;c;", ["a b\\;c"], id="an escaped end"),
            pytest.param("proxy_pass http://${name}$uri;", ["proxy_pass http://${name}$uri"], id="braces"),
            pytest.param("set $a b}c;", ["set $a b}c"], id="a brace in a word"),
            pytest.param("location ~ '^/a{2}$' { b; }", [["location ~ ^/a{2}$", "b"]], id="an expression"),
            pytest.param("location /a{ b; }", [["location /a", "b"]], id="no space before a block"),
            pytest.param("a b#c;", ["a b#c"], id="no comment inside a word"),
            pytest.param("a \"\" '';", ["a  "], id="empty arguments"),
        ],
    )
    def test_it_is_read_as_nginx_does(self, text: str, tree: list[object]) -> None:
        assert read(text) == tree

    def test_a_place_is_where_the_directive_begins(self) -> None:
        (http,) = read_configuration("\n# a\nhttp {\n  a\n   b;\n}").directives
        assert http.where == "line 3"
        assert [each.where for each in http.block or ()] == ["line 4"]

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            pytest.param("a", "line 1: 'a' has no ';'", id="no end"),
            pytest.param("\na { b }", "line 2: 'b' has no ';'", id="no end in a block"),
            pytest.param("a {\n b {", "line 2: 'b' has no '}'", id="an open block"),
            pytest.param("a;\n}", "line 2: '}' ends no block", id="a block too few"),
            pytest.param(";", "line 1: ';' stands alone", id="an end alone"),
            pytest.param("a; {", "line 1: '{' stands alone", id="a block alone"),
            pytest.param("a\n 'b", 'line 2: "\'b" does not end', id="an open quote"),
            pytest.param("a \\", "does not end", id="an escape of nothing"),
        ],
    )
    def test_what_nginx_could_not_read_is_named_with_its_line(self, text: str, error: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            read_configuration(text)
        assert error in str(caught.value)

    def test_a_documented_configuration_is_read_whole(self) -> None:
        text = whole(documented("nginx", "nginx ends TLS and asks meshid"))
        *_, http = read_configuration(text).directives
        assert [each.name for each in http.block or ()][-2:] == ["upstream", "server"]


DUMP = """\
# configuration file /etc/nginx/nginx.conf:
http {
    include mime.types;
    include conf.d/*.conf;
}

# configuration file /etc/nginx/mime.types:
types { }

# configuration file /etc/nginx/conf.d/a.conf:
server {
    include /srv/headers;
}

# configuration file /srv/headers:
proxy_set_header A b;
# configuration file /etc/nginx/conf.d/b.conf:
server { }
"""


class TestIncludes:
    def test_the_files_of_a_dump_are_put_where_they_are_included(self) -> None:
        configuration = read_configuration(DUMP)
        assert configuration.unread == ()
        tree = [["http", ["types"], ["server", "proxy_set_header A b"], ["server"]]]
        assert shown(configuration.directives) == tree
        http = configuration.directives[0].block or ()
        assert [each.where for each in http] == [
            "/etc/nginx/mime.types:1",
            "/etc/nginx/conf.d/a.conf:1",
            "/etc/nginx/conf.d/b.conf:1",
        ]
        assert [each.where for each in http[1].block or ()] == ["/srv/headers:1"]

    def test_in_one_file_they_are_told(self) -> None:
        configuration = read_configuration("http {\n include a;\n server { include b; }\n}")
        assert [str(each) for each in configuration.unread] == ["include a", "include b"]

    def test_a_file_that_includes_itself_is_refused(self) -> None:
        text = "# configuration file /a:\ninclude /b;\n# configuration file /b:\nx { include /a; }\n"
        with pytest.raises(InvalidInput, match="'/a' includes itself"):
            read_configuration(text)


class TestLimits:
    def test_depth(self) -> None:
        depth = nginx_configuration.MAX_DEPTH
        assert read("a{" * depth + "}" * depth)
        with pytest.raises(InvalidInput, match="more than 64 blocks in each other"):
            read_configuration("a{" * (depth + 1) + "}" * (depth + 1))

    def test_length(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nginx_configuration, "MAX_LENGTH", 4)
        assert read("a b;") == ["a b"]
        with pytest.raises(InvalidInput, match="5 characters, and at most 4"):
            read_configuration("a bc;")

    def test_directives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nginx_configuration, "MAX_DIRECTIVES", 4)
        assert len(read("a;" * 4)) == 4
        with pytest.raises(InvalidInput, match="more than 4 directives"):
            read_configuration("a;" * 5)

    def test_directives_of_files_that_include_others_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nginx_configuration, "MAX_DIRECTIVES", 1000)
        files = [f"# configuration file /{n}:\ninclude /{n + 1}; include /{n + 1};\n" for n in range(40)]
        with pytest.raises(InvalidInput, match="more than 1000 directives"):
            read_configuration("".join(files) + "# configuration file /40:\nx;\n")

    @pytest.mark.slow
    @pytest.mark.parametrize("piece", ["a", "'", "\\", "${", "{", "a{", "# ", '"\\"', " ;", "a b;"])
    def test_time_is_linear(self, piece: str) -> None:
        begun = time.monotonic()
        with contextlib.suppress(InvalidInput):
            read_configuration(piece * (500_000 // len(piece)))
        assert time.monotonic() - begun < 20


WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text("abc_", min_size=1, max_size=4)
TREES = st.recursive(
    st.builds(Directive, NAMES, st.lists(WORDS, max_size=3).map(tuple), st.just("")),
    lambda inner: st.builds(
        Directive,
        NAMES,
        st.lists(WORDS, max_size=2).map(tuple),
        st.just(""),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=8,
)


def written(each: Directive) -> str:
    arguments = [f'"{_escaped(argument)}"' for argument in each.arguments]
    head = " ".join([each.name, *arguments])
    if each.block is None:
        return f"{head};\n"
    return f"{head} {{\n{''.join(map(written, each.block))}}}\n"


def _escaped(argument: str) -> str:
    return argument.replace("\\", "\\\\").replace('"', '\\"')


def placeless(directives: tuple[Directive, ...]) -> list[object]:
    return [
        (each.name, each.arguments, None if each.block is None else placeless(each.block))
        for each in directives
    ]


class TestAnything:
    @given(st.lists(TREES, max_size=3).map(tuple))
    def test_what_is_written_is_read_again(self, trees: tuple[Directive, ...]) -> None:
        configuration = read_configuration("".join(map(written, trees)))
        assert placeless(configuration.directives) == placeless(trees)

    @given(st.text("ab{};\"'\\$# \n", max_size=40))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            assert isinstance(read_configuration(text), Configuration)
        except InvalidInput as error:
            assert "line " in str(error)
