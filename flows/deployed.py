"""What is checked when a cohort is deployed: a variable that is not set would be stored as the words that ask for it."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lungpipe.errors import DatasetError


def check_deployment(recipe: str = "", workspace: str = "", timezone: str = "") -> None:
    """Refuse to deploy what could not run; a build step of ``prefect.yaml``.

    Parameters
    ----------
    recipe : str
        ``$LUNGPIPE_RECIPE``: absolute path of a recipe that can be read here.
    workspace : str
        ``$LUNGPIPE_WORKSPACE``: absolute path or address with a scheme.
    timezone : str
        ``$LUNGPIPE_TIMEZONE``: name of a time zone.

    Raises
    ------
    DatasetError
        If one is not set or wrong.
    """
    from flows.config import load_config

    given = {"LUNGPIPE_RECIPE": recipe, "LUNGPIPE_WORKSPACE": workspace, "LUNGPIPE_TIMEZONE": timezone}
    # Prefect gives an unset variable as nothing, or as the words that ask for it.
    if missing := [name for name, value in given.items() if not value or "{{" in value]:
        raise DatasetError(f"set {', '.join(missing)} before deploying: export {missing[0]}=..., then deploy again")
    for name in ("LUNGPIPE_RECIPE", "LUNGPIPE_WORKSPACE"):
        if "://" not in given[name] and not Path(given[name]).is_absolute():
            raise DatasetError(f"{name} is {given[name]!r}: expected an absolute path; a worker runs in another folder")
    load_config(Path(recipe))
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DatasetError(
            f"LUNGPIPE_TIMEZONE is {timezone!r}: expected the name of a time zone, as in Europe/Berlin"
        ) from error
