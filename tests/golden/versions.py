"""The library versions that golden files are made with."""

import importlib.metadata
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent


def check_versions(*packages):
    """Another version may print other numbers. Without names all of requirements.txt is checked."""
    for line in (FOLDER / "requirements.txt").read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        name, wanted = line.split("==")
        if packages and name not in packages:
            continue
        found = importlib.metadata.version(name).split("+")[0]
        if found != wanted:
            raise SystemExit(f"{name} {wanted} is needed, {found} is installed")
