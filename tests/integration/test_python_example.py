"""The example client, with stubs made as its README says."""

import os
import subprocess
import sys

from harness import MINILM, ROOT


def test_the_readme_works_and_prints_what_it_says(start_server, tmp_path):
    server = start_server([MINILM, ROOT / "models"])  # those of script/server
    readme = (ROOT / "clients/python/README.md").read_text()
    script = readme.split("```sh\n")[1].split("```")[0]
    lines = script.splitlines(keepends=True)
    assert "venv" in lines[0] and "pip install grpcio grpcio-tools" in lines[1]
    commands = "".join(lines[2:]).replace("stubs", str(tmp_path / "stubs"))
    commands = commands.replace("localhost:8001", server.address)
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-ec", commands], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    prints = (ROOT / "README.md").read_text().split("\nprints\n\n```\n")[1].split("```")[0]
    assert done.stdout == prints
