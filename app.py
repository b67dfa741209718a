"""Starts the byolmeta app: `python app.py [--home --port --lang --public --share --auth --mcp --no-browser]`."""

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing leaves the machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads leave the cores to other processes


def name_and_password(text: str) -> tuple[str, str] | None:
    """What USER:PASSWORD says; None for nothing. Raises InputError for anything else."""
    from byolmeta.errors import InputError

    name, _, password = text.partition(":")
    if text and not (name and password):
        raise InputError("--auth needs a name and a password, as USER:PASSWORD.")
    return (name, password) if text else None


def main() -> None:
    """Reads the flags, builds the page, serves it."""
    parser = argparse.ArgumentParser(description="byolmeta: teach a computer to see your own pictures.")
    parser.add_argument("--home", help="where pictures, vectors and runs are kept (BYOLMETA_HOME, else ~/.byolmeta)")
    parser.add_argument("--port", type=int, help="port of the page (GRADIO_SERVER_PORT, else the first free from 7860)")
    parser.add_argument("--lang", choices=["en", "zh"], help="language of the page (else what the browser asks for)")
    parser.add_argument("--public", action="store_true", help="rules for a shared machine: uploads only, bounded study")
    parser.add_argument("--share", action="store_true", help="make a public link through Gradio; implies --public")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask for a name and a password (or BYOLMETA_AUTH)")
    parser.add_argument(
        "--mcp", action="store_true", help="offer agents the verbs that leave nothing behind, as MCP tools"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    flags = parser.parse_args()
    if flags.home:
        os.environ["BYOLMETA_HOME"] = flags.home
    from byolmeta import ui
    from byolmeta.errors import InputError

    public = flags.public or flags.share or "SPACE_ID" in os.environ
    if flags.share:
        print(
            "--share: anyone who has the link can use this computer until you end the app. The rules of a shared computer "
            "hold: uploads only, no folders, everything deleted when a visitor leaves.",
            file=sys.stderr,
        )
    try:
        ui.launch(
            public=public, language=flags.lang, port=flags.port, share=flags.share, browser=not flags.no_browser,
            auth=name_and_password(flags.auth or os.environ.get("BYOLMETA_AUTH", "")), mcp=flags.mcp,
        )  # fmt: skip
    except InputError as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
