"""`duelist annotate` and `duelist annotators`. Imports at module level only what `--help` needs."""

from __future__ import annotations

import gc
import webbrowser
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from duelist.cli.console import Json, Quiet, StudyDir, err, go_offline_if_unreachable, out, print_json, say
from duelist.errors import RecipeError, StorageError, StudyLockedError

if TYPE_CHECKING:
    from duelist.annotators.people import PeopleConfig
    from duelist.study.study import Study
    from duelist.web.commands import Do
    from duelist.web.record import Role

OWNER = "owner"
SECRET = ".secret"  # in the study's folder: digests tokens, signs sessions and commands
HOST, PORT = "127.0.0.1", 8080
STORE = "DUELIST_STORE"  # a database's URL may hold a password, which a command line would show to others

Host = Annotated[str, typer.Option("--host", help="Address to listen on. Another than this machine needs `--public`.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any that is free.")]
Open = Annotated[bool, typer.Option("--open", help="Open the owner's link in the browser.")]
Ledger = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar=STORE,
        help="Database of the ledger of what people do, `postgresql+psycopg://...`; if not given, a file in DIR.",
    ),
]
Public = Annotated[bool, typer.Option("--public", help="Let other machines reach the server; needs TLS and --address.")]
Certificate = Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help="TLS certificate, PEM.")]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its private key, PEM.")]
Proxy = Annotated[
    str | None, typer.Option("--trusted-proxy", metavar="IP", help="Address of a proxy that speaks TLS with browsers.")
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="URL", help="Address that browsers use, `https://NAME`.")
]


def annotate(
    study: StudyDir,
    host: Host = HOST,
    port: Port = PORT,
    open_browser: Open = False,
    store: Ledger = None,
    public: Public = False,
    certificate: Certificate = None,
    key: Key = None,
    trusted_proxy: Proxy = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Let people answer a study's questions in a browser, and train on their answers.

    Serves the questions in the order in which they teach most. When a round's questions are answered, it trains in
    another process and goes on. Prints the address, and a personal link for the owner; invite others on the owner's
    page, or with `duelist annotators add DIR NAME`. An answer that was acknowledged is never lost: stop the command
    with Ctrl-C or `kill -9`, and run it again to go on.

    Needs `pip install "duelist[annotate]"`. Example: `duelist annotate studies/my-study --open`.
    """
    go_offline_if_unreachable(quiet)
    from duelist.study.study import Study

    with Study.open(study) as opened:
        options = {"host": host, "port": port, "public": public, "certificate": certificate, "key": key}
        options |= {"trusted_proxy": trusted_proxy, "address": address}
        serve(opened, store, open_browser, quiet, **options)


def serve(study: Study, store: str | None, open_browser: bool, quiet: bool, **options: Any) -> None:
    """Serve an open study until its last round is closed.

    Args:
        study: the study; its annotator is `people`, or null for the page's defaults.
        store: the URL of the ledger; None for a file in the study's folder.
        open_browser: whether to open the owner's link.
        quiet: whether to print nothing but the links.
        options: the settings of the server (`ServerSettings`).

    Raises:
        RecipeError: if the study has another annotator.
        ModelError: if the packages of the extra `annotate` are missing.
    """
    from duelist.people.libraries import optional_library

    optional_library("uvicorn", "duelist[annotate]", "Serving a study to people")
    from duelist.web.commands import announce, withdraw
    from duelist.web.served_study import ServedStudy, ledger_url
    from duelist.web.serving import ServerSettings, serving
    from duelist.web.sql_ledger import SqlLedger
    from duelist.web.study_page import page_settings, statistics_of
    from duelist.web.tokens import Secret

    config = people_of(study)
    settings, page = ServerSettings(**options), page_settings(config)
    folder = study.folder.path
    with closing(SqlLedger(store or ledger_url(folder))) as ledger:
        served = ServedStudy(study, ledger, config, say_state(quiet))
        secret = Secret.at(folder / SECRET)
        try:
            with serving(served.desk, secret, settings, page, statistics_of(served), served.tell) as server:
                announce(folder, server.local)
                link = server.link(OWNER, "owner")
                say(f"Label at {server.address}\nOwner's personal link, which signs in: {link}")
                if open_browser:
                    webbrowser.open(link)
                gc.collect()
                gc.freeze()  # collecting what the libraries hold would stop every vote for a fifth of a second
                served.run()
        finally:
            withdraw(folder)
            served.settle()


def people_of(study: Study) -> PeopleConfig:
    """Return the settings of people: those of the recipe's annotator `people` or of its cascade's, or the defaults.

    Raises:
        RecipeError: if the recipe has another annotator.
    """
    from duelist.annotators.people import PeopleConfig
    from duelist.cascade.page import people_at_the_page

    component = study.recipe.annotator
    config = PeopleConfig() if component is None else people_at_the_page(study.recipe)
    if config is None:
        assert component is not None
        raise RecipeError(
            "People can answer a study whose annotator is `people`, a `cascade` with these, or null, but this one's is "
            f"{component.name!r}: it labels by itself (`duelist run`)."
        )
    return config


def say_state(quiet: bool) -> Any:
    """Return what prints the study's state, once while it stays the same."""
    latest: list[str] = []

    def show(text: str) -> None:
        if not quiet and latest[-1:] != [text]:
            latest[:] = [text]
            err.print(text, markup=False, highlight=False, soft_wrap=True)

    return show


annotators = typer.Typer(
    no_args_is_help=True, help="Invite the people who answer a study's questions, and end their access."
)


@annotators.command("add")
def add(
    study: StudyDir,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, as it stands in every label.")],
    role: Annotated[
        str, typer.Option("--role", help="`annotator`, `adjudicator` (decides disputed questions) or `owner`.")
    ] = "annotator",
    address: Annotated[
        str, typer.Option("--address", metavar="URL", help="Address of the server, for the link, if it is not running.")
    ] = "http://127.0.0.1:8080",
    store: Ledger = None,
) -> None:
    """Invite a person, and print the personal link that signs in.

    The link is shown once: only a digest of it is kept. Works while `duelist annotate` runs, too.
    """
    if role not in ("annotator", "adjudicator", "owner"):
        raise RecipeError(f"`--role` must be annotator, adjudicator or owner, but got {role!r}: use one of them.")
    done = command(study, store, "invite", name, cast("Role", role))
    say(f"{(done.get('address') or address).rstrip('/')}/join/{done['token']}")


@annotators.command("revoke")
def revoke(
    study: StudyDir,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose links and sessions end.")],
    store: Ledger = None,
) -> None:
    """End a person's access: every link and session. The answers stay."""
    command(study, store, "revoke", name)


@annotators.command("list")
def show(study: StudyDir, store: Ledger = None) -> None:
    """List the people who were invited, with their role."""
    from duelist.store.layout import require_study
    from duelist.web.record import derive
    from duelist.web.served_study import ledger_url
    from duelist.web.sql_ledger import read_events

    require_study(study)
    record = derive(read_events(store or ledger_url(study)))
    for member in record.members.values():
        labels = sum(a.answers for a in record.acts_of(member.name))
        say(f"{member.name}\t{member.role}\t{'active' if member.active else 'revoked'}\t{labels} answers")


@annotators.command("report")
def report(study: StudyDir, store: Ledger = None, as_json: Json = False) -> None:
    """Print how people agree, and each person's reliability, position bias, speed, self-consistency and gold answers.

    Agreement is also given on the questions drawn at random, because people agree less on questions that a rule chose.
    """
    from duelist.web.people_report import rows_of
    from duelist.web.served_study import ledger_url

    rows = rows_of(study, store or ledger_url(study))
    if as_json:
        print_json(rows)
        return
    table = Table("of", "annotator", "statistic", "value", "95 % interval", "n", "remark")
    for row in rows:
        low, high = (("−∞", "∞")[i] if row[k] is None else f"{row[k]:.3g}" for i, k in enumerate(("low", "high")))
        interval = "" if row["low"] is None and row["high"] is None else f"{low} to {high}"
        value = "–" if row["value"] is None else f"{row['value']:.3g}"
        table.add_row(
            row["of"], row["annotator"] or "", row["statistic"], value, interval, str(row["n"]), row["remark"]
        )
    out.print(table)


def tell(
    study: StudyDir,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Answers, one JSON object a line (.jsonl).")],
    store: Ledger = None,
    quiet: Quiet = False,
) -> None:
    """Record answers that people gave elsewhere, all or none. Works while `duelist annotate` runs, too.

    Each line has `pair_id` (or `question_id`), `annotator`, and what was decided: `outcome` (`a`, `b`, `tie`, `skip`,
    `both_bad`, `both_good`) of a pair; `ranking`, or `best` (and `worst`), of a larger question. `id`, `seconds`,
    `shown`, `time`, `better` and `stopped` may be given as well. The ids are those of `duelist export --format jsonl`.
    The same line told again changes nothing.
    """
    new = command(study, store, "tell", str(file.resolve()))["new"]
    if not quiet:
        say(f"{new} answers recorded.")


def command(study: Path, store: str | None, do: Do, name: str, role: Role = "annotator") -> dict[str, Any]:
    """Carry out a command: here, or by the server that has the study open."""
    from duelist.people.libraries import optional_library

    optional_library("fastapi", "duelist[annotate]", "Commands about people")
    from duelist.store.layout import require_study
    from duelist.web.commands import SERVER, send
    from duelist.web.tokens import Secret

    require_study(study)
    secret = Secret.at(study / SECRET)
    if (study / SERVER).exists():  # ask it first: opening a study takes seconds, to load the libraries of models
        with suppress(StorageError):  # it was killed
            return dict(send(study, secret, do, name, role))
    from duelist.study.study import Study
    from duelist.web.roster import Roster
    from duelist.web.served_study import ServedStudy, ledger_url
    from duelist.web.sql_ledger import SqlLedger

    try:
        opened = Study.open(study)
    except StudyLockedError:
        return dict(send(study, secret, do, name, role))
    with opened, closing(SqlLedger(store or ledger_url(study))) as ledger:
        served = ServedStudy(opened, ledger, people_of(opened))
        roster = Roster(served.desk, secret)
        if do == "invite":
            return {"token": roster.invite(name, role)}
        if do == "tell":
            return {"new": served.tell(Path(name))}
        roster.revoke(name)
        return {}
