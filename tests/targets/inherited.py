"""What children of each kind have of an environment that putenv and unsetenv have changed."""

import os
import subprocess
import sys

os.putenv("PUT", "1")
os.unsetenv("HOME")
os.environ["SET"] = "2"
show = [sys.executable, "-c", "import os; print(dict(os.environ))"]
for command in ["env"], show, [show[0], "-I", *show[1:]]:
    subprocess.run(command)
    sys.stdout.flush()
os.waitpid(os.posix_spawn(show[0], show, os.environ), 0)
if os.fork() == 0:
    os.execv(show[0], show)
os.wait()
os.execve(show[0], show, {"ONLY": "3"})
