"""The Debian packages that provide a program, or the toolchain of a language (Debian bookworm). Pure."""

from collections.abc import Mapping

CARGO_PACKAGES = ("cargo",)
GO_PACKAGES = ("golang-go", "gcc", "libc6-dev")
"""With a C compiler and the headers of libc: packages such as `net` and `os/user` are built with cgo."""
JAVA_PACKAGES = ("default-jdk-headless",)
PHP_PACKAGES = ("composer", "php-cli", "php-curl", "php-mbstring", "php-xml", "unzip")
RUBY_PACKAGES = ("bundler", "ruby-dev", "build-essential")

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("cargo", "rustc"), CARGO_PACKAGES),
    **dict.fromkeys(("go", "gofmt"), GO_PACKAGES),
    **dict.fromkeys(("java", "javac"), JAVA_PACKAGES),
    "mvn": ("maven", *JAVA_PACKAGES),
    "gradle": ("gradle", *JAVA_PACKAGES),
    **dict.fromkeys(("php", "composer"), PHP_PACKAGES),
    **dict.fromkeys(("ruby", "gem", "bundle", "rake"), RUBY_PACKAGES),
    **dict.fromkeys(("cc", "gcc"), ("gcc", "libc6-dev")),
    **dict.fromkeys(("c++", "g++"), ("g++", "libc6-dev")),
    **dict.fromkeys(("psql", "pg_dump", "pg_isready"), ("postgresql-client",)),
    **dict.fromkeys(("redis-server", "redis-cli"), ("redis",)),
    **dict.fromkeys(("mysql", "mysqld"), ("default-mysql-server",)),
    **dict.fromkeys(("mix", "elixir"), ("elixir",)),
    **dict.fromkeys(("ps", "top", "pgrep", "pkill", "free"), ("procps",)),
    **dict.fromkeys(("convert", "identify"), ("imagemagick",)),
    "dot": ("graphviz",),
    "gs": ("ghostscript",),
    "nc": ("netcat-openbsd",),
    "ping": ("iputils-ping",),
    "protoc": ("protobuf-compiler",),
    "xz": ("xz-utils",),
}
_OF_THE_SAME_NAME = frozenset(
    (
        *("autoconf", "automake", "bc", "bison", "bzip2", "chromium", "clang", "cmake", "expect", "ffmpeg"),
        *("file", "fish", "flex", "gawk", "gdb", "gettext", "git-lfs", "less", "libtool", "lsof", "m4"),
        *("mercurial", "openssl", "pandoc", "patch", "perl", "pkg-config", "rsync", "screen", "shellcheck"),
        *("socat", "sqlite3", "strace", "subversion", "swig", "tmux", "tree", "unzip", "valgrind", "wget"),
        *("zip", "zsh"),
    )
)


_OF_THE_PROJECT = frozenset(
    (
        *(
            "pytest",
            "tox",
            "nox",
            "coverage",
            "mypy",
            "pyright",
            "ruff",
            "black",
            "isort",
            "flake8",
            "pylint",
        ),
        *(
            "pre-commit",
            "hatch",
            "pdm",
            "poetry",
            "pipenv",
            "sphinx-build",
            "mkdocs",
            "alembic",
            "django-admin",
        ),
        *(
            "tsc",
            "tsx",
            "jest",
            "vitest",
            "mocha",
            "ava",
            "eslint",
            "prettier",
            "biome",
            "vite",
            "next",
            "turbo",
        ),
        *("nx", "webpack", "rollup", "esbuild", "playwright", "cypress", "rspec", "rubocop", "phpunit"),
    )
)
"""Programs that a project's own environment contains, not the image."""


def packages_of_program(program: str) -> tuple[str, ...]:
    """The packages that provide a program; empty where they are not known."""
    return _PACKAGES.get(program) or ((program,) if program in _OF_THE_SAME_NAME else ())


def suggest_packages(program: str) -> str:
    """How a program that the image lacks is added to it."""
    packages = packages_of_program(program)
    if not packages:
        return "Add it to the image with image.packages or image.dockerfile."
    named = ", ".join(f'"{package}"' for package in packages)
    return f"Add {named} to image.packages in orchestrator.toml, then: orchestrator trust"


def suggest_provision(program: str) -> str:
    """How a program that a command of the project needs is provided; one with a slash is a file of it."""
    if "/" in program:
        return (
            "It is a file of the project: commit it as an executable file, or create it in setup.commands "
            "or verify.build."
        )
    if program in _OF_THE_PROJECT:
        return "Add it to a lock file that setup reads, or install it in setup.commands."
    return suggest_packages(program)
