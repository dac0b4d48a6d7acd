"""Checks every #include of the C++ sources against rules.py.

usage: check_includes.py [REPOSITORY]
"""

import pathlib
import re
import sys

from rules import ALIASES, ALLOWED, SOURCES_ONLY

FOLDERS = ["kernels", "engine", "server", "clients"]
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
OWN = tuple(folder + "/" for folder in FOLDERS)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def name_of(include):
    """What the rules call an include; None for one that nobody needs to ask about."""
    if include.startswith(OWN):
        return include
    for pattern, alias in ALIASES:
        if re.fullmatch(pattern, include):
            return alias
    return None


def rule_for(path):
    """The key of ALLOWED that covers a source file, or None."""
    file = path.as_posix()
    keys = [key for key in ALLOWED if not key.endswith("/") and file.startswith(key)]
    if keys:
        return max(keys, key=len)
    for folder in path.parents:
        key = folder.as_posix() + "/"
        if key in ALLOWED and (folder == path.parent or key.count("/") > 1):
            return key
    return None


def violation(path, quote, include, exists):
    """The reason why `path` may not include `include`, or None."""
    if quote == '"' and not include.startswith(OWN) and exists(path.parent / include):
        return "name it by its path from the repository root"
    name = name_of(include)
    if name is None:
        return None
    if (
        path.suffix == ".h"
        and name in SOURCES_ONLY
        and not path.as_posix().startswith(tuple(SOURCES_ONLY[name]))
    ):
        return f"{name} belongs in source files, not in headers"
    rule = rule_for(path)
    if rule is None:
        return f"tests/layering/rules.py has no line for {path.parent.as_posix()}/"
    allowed = ALLOWED[rule] + ([rule] if rule.endswith("/") else [])
    if any(name == entry or (entry.endswith("/") and name.startswith(entry)) for entry in allowed):
        return None
    return f"{rule} may include only: {', '.join(allowed) or 'nothing of this project'}"


def check(root):
    """Returns (violations as printable lines, number of includes looked at)."""
    root = pathlib.Path(root)
    violations, seen = [], 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            relative = path.relative_to(root)
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                seen += 1
                reason = violation(relative, *match.groups(), lambda p: (root / p).exists())
                if reason:
                    violations.append(f"{relative}:{number}: {match[2]}: {reason}")
    return violations, seen


def main(arguments):
    root = arguments[0] if arguments else pathlib.Path(__file__).resolve().parents[2]
    violations, seen = check(root)
    print("\n".join(violations + [f"{seen} includes checked, {len(violations)} not allowed"]))
    return 1 if violations or not seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
