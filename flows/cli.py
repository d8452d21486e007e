"""The command line: thin; each command imports what it needs when it runs."""

from __future__ import annotations

import atexit
import gc as garbage  # gc is a command
import json
import logging
import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.airways_command import airways
from flows.archive_commands import export_dicom, export_masks, index
from flows.catalog_commands import datasets
from flows.classifier_command import train_classifier
from flows.cluster_commands import PASS_ON, scheduler, worker
from flows.compare_command import compare
from flows.dictionary_command import dictionary
from flows.export_commands import export_crate, export_croissant, export_prov, query
from flows.extract_command import extract
from flows.frame_command import check_frame
from flows.ladder_command import corruption_ladder
from flows.lineage_commands import gc, impact, trace, verify, withdraw
from flows.lung_command import lung
from flows.mask_commands import evaluate_masks
from flows.picture_command import picture
from flows.plan_command import plan
from flows.prefect_server import start_early
from flows.rater_commands import raters
from flows.segment_command import segment
from flows.stability_command import stability
from flows.status_command import status
from flows.store_commands import export_nifti, export_ome
from flows.surroundings_command import stats_surroundings
from flows.synthesis_commands import inpaint_lesion, insert_lesion
from flows.train_command import train_segmenter
from flows.vae_command import train_vae
from flows.watch_command import watch
from lungpipe.errors import CaseError, DatasetError, GeometryError, LungpipeError, PluginError
from lungpipe.watching.logs import json_log, say

if TYPE_CHECKING:
    from flows.standing import Outcome

WRONG_INPUT, FAILED_PART_WAY = 2, 3
#: Objects that are made before garbage is looked for; Python's own 700 is for small programs.
GARBAGE_AFTER = 50_000
#: Commands whose standard error may be JSON; others ask and answer on it.
LOGGED = {"run"}

app = typer.Typer(
    name="lungpipe",
    help="Curates lung-CT data sets and turns them into radiomics: DICOM in, benchmark report out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]


def main() -> None:
    """Run the command line; every failure that is foreseen ends as one message and an exit status."""
    # The libraries make a million objects that stay: looking through them for garbage takes seconds, most of them at the end.
    garbage.set_threshold(GARBAGE_AFTER)
    if sys.argv[1:2] == ["run"]:
        atexit.register(garbage.freeze)
    try:
        log = json_log(last=True) if LOGGED & set(sys.argv[1:2]) else nullcontext()
        with log:
            _call()
    except DatasetError as error:
        _fail(f"lungpipe: {error}", WRONG_INPUT)


def _call() -> None:
    try:
        app()
    except (DatasetError, PluginError, GeometryError, CaseError) as error:
        _fail(f"lungpipe: {error}", WRONG_INPUT)
    except (LungpipeError, OSError) as error:
        _fail(f"lungpipe: {error}", FAILED_PART_WAY)


def _fail(text: str, status: int) -> None:
    say(text, logging.ERROR)
    raise SystemExit(status)


def _print(text: str) -> None:
    print(text)  # noqa: T201  the command line's own output


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    workspace: Annotated[
        str | None,
        typer.Option(
            help="Folder or address (s3://bucket/name) of the results; default: RECIPE's name + '-workspace'."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    dask: Annotated[str | None, typer.Option(help="Address of your own Dask scheduler.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Local worker processes.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if anything was excluded.")] = False,
) -> None:
    """Run a recipe from DICOM to report; a rerun resumes and does only what is missing.

    Example: lungpipe run recipes/lidc-0314.toml --set cohort.dicom=LIDC-IDRI-0314 --workers 2
    """
    _prefect_environment()
    from flows.chain import chain, standing
    from flows.config import load_config
    from lungpipe.store.lock import require_free
    from lungpipe.store.place import Place

    config = load_config(recipe, overrides)  # a misspelt recipe is told before anything starts
    place = Place.at(workspace or Path.cwd() / f"{recipe.stem}-workspace")
    require_free(place)
    look = partial(standing, config, place)
    server_is_up = start_early()
    if (found := look()) is not None:
        say("nothing to do: recipe, archive and results are as they were")
        _conclude(found, strict)
        return
    resume = f"what is done is kept in {place}; resume with the same command"
    try:
        flow = chain(config)
        server_is_up()
        outcome = flow(str(recipe), str(place), overrides, dask, workers)
    except (DatasetError, PluginError):
        raise
    except KeyboardInterrupt:
        _fail(f"lungpipe: interrupted; {resume}", FAILED_PART_WAY)
    except Exception as error:  # noqa: BLE001  a person wants the way on, the log has the rest
        if not isinstance(error, LungpipeError) and (found := look()) is not None:
            say(f"the run is whole, but Prefect could not note its end ({type(error).__name__})", logging.WARNING)
            _conclude(found, strict)
            return
        _fail(f"lungpipe: {type(error).__name__}: {error}; {resume}", FAILED_PART_WAY)
    _conclude(outcome, strict)


def _conclude(outcome: Outcome, strict: bool) -> None:
    note = f"{outcome.scans} scans ({outcome.reused} reused), {outcome.exclusions} exclusions"
    if outcome.auc is not None:
        note += f", AUC {outcome.auc:.2f} (configuration chosen inside the training folds)"
    say(note)
    _print(outcome.report)
    if strict and outcome.exclusions:
        raise SystemExit(1)


def _prefect_environment() -> None:
    """Defaults of the workflow engine, before it is imported: no analytics, patience at start, one voice on stderr."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


for _command in (
    datasets, index, check_frame, segment, extract, lung, airways, raters, evaluate_masks, stats_surroundings, stability, watch, export_dicom,
    train_segmenter, train_classifier, train_vae, insert_lesion, inpaint_lesion, corruption_ladder, export_masks, export_ome, export_nifti, picture, plan, status, trace, compare, impact, withdraw, verify, gc, query,
    dictionary, export_prov, export_crate, export_croissant,
):  # fmt: skip
    app.command()(_command)
app.command(context_settings=PASS_ON)(scheduler)
app.command(context_settings=PASS_ON)(worker)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    patients: Annotated[int | None, typer.Option(min=2, help="Simulated patients, one series each.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same cohort.")] = 7,
    shell_mm: Annotated[float, typer.Option(help="How far the planted effect reaches, mm.")] = 8.0,
    effect: Annotated[float, typer.Option(help="Strength of the planted effect; 0 plants none.")] = 1.0,
    broken: Annotated[
        bool, typer.Option("--broken", help="Instead, one series for each fault that curation knows, and sound ones.")
    ] = False,
) -> None:
    """Write a simulated DICOM cohort with annotations, truth and recipe: simulated intensities, real nodule shapes.

    Example: lungpipe phantom demo-cohort --patients 48 --seed 7
    """
    from data_catalog.phantom import write_phantom
    from data_catalog.phantom.broken import N_SERIES, write_broken
    from tasks.progress import progress

    if broken:
        with progress("series", N_SERIES) as advance:
            expected = write_broken(out, seed, lambda _: advance(1, ""))
        _print(str(expected))
        return
    if patients is None:
        raise DatasetError("a phantom needs --patients N (at least 2), or --broken")
    with progress("simulated patients", patients) as advance:
        recipe = write_phantom(out, patients, seed, shell_mm, effect, lambda _: advance(1, ""))
    _print(str(recipe))


def _plugin_command(kind: str) -> None:
    def show(json_: Json = False) -> None:
        from lungpipe import plugins

        rows = {name: point.value for name, point in plugins.installed(kind).items()}
        _print(json.dumps(rows) if json_ else "\n".join(f"{name:20} {value}" for name, value in rows.items()) or "none")

    app.command(name=kind, help=f"List the installed {kind}. Example: lungpipe {kind} --json")(show)


for _kind in ("segmenters", "extractors", "embedders", "classifiers"):
    _plugin_command(_kind)


@app.command()
def doctor(json_: Json = False) -> None:
    """Show versions, plug-ins and the machine, and what is missing with its fix; exit 2 if something is broken.

    Example: lungpipe doctor
    """
    from lungpipe.doctor import examine

    found = examine()
    if json_:
        _print(json.dumps(found, indent=1))
    else:
        for name, version in found["versions"].items():
            _print(f"{name:20} {version}")
        for kind, names in found["plugins"].items():
            _print(f"{kind:20} {', '.join(names) or 'none'}")
        for name, value in found["machine"].items():
            _print(f"{name:20} {value}")
        _print(f"{'pseudonym key':20} {found['pseudonym_key']}")
        for line in found["optional"]:
            _print(f"not installed: {line}")
        for line in found["problems"]:
            _print(f"problem: {line}")
        _print("no problems found" if not found["problems"] else "")
    if found["problems"]:
        raise SystemExit(WRONG_INPUT)


if __name__ == "__main__":
    main()
