"""`doctor`: whether a run could start here, and every setting with its source."""

import argparse


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "doctor", help="check folder, engine, image and credential; show the settings"
    )
    parser.set_defaults(handler=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    return 0
