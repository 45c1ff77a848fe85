"""An environment with the package as users have it: a wheel of the checkout, its bytecode there.

Compiling the recorder anew costs each process 5 ms, which no installed package pays.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def install(folder: Path) -> Path:
    """Build a wheel of the checkout and install it into a new environment; its interpreter."""
    environment, wheels = folder / "environment", folder / "wheels"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _call([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(CHECKOUT)])
    (wheel,) = wheels.glob("pytest_proclife-*.whl")
    _call([*pip, "--python", str(python), "install", "--no-deps", str(wheel)])
    # The measured tools are those of the calling interpreter. Its folder stands behind the
    # environment's own, so that the package is the wheel's even where it is installed too.
    config = {"base": str(environment), "platbase": str(environment)}
    target = Path(sysconfig.get_path("purelib", vars=config))
    tools = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (target / "tools.pth").write_text("\n".join(tools) + "\n")
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr or done.stdout}")
