"""A stand-in for a node process: binds ports, writes ``process.json``, answers the control socket, obeys SIGTERM.

Standard library only, so that it starts in a few hundredths of a second. What it was told is kept in
``told.jsonl`` in its home; a file ``refuse`` there makes it end at once with its text as the last words.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time
import tomllib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    home: Path = parser.parse_args().home
    refusal = home / "refuse"
    if refusal.exists():
        sys.exit(refusal.read_text())
    config = tomllib.loads((home / "config.toml").read_text())
    listeners = [bind(config[section]["port"]) for section in ("p2p", "rpc")]
    os.chdir(home)
    Path("control.sock").unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind("control.sock")
    control.listen()
    signal.signal(signal.SIGTERM, end)
    p2p_port, rpc_port = (listener.getsockname()[1] for listener in listeners)
    process = {
        "name": config["node"]["name"],
        "pid": os.getpid(),
        "p2p_port": p2p_port,
        "rpc_port": rpc_port,
        "rpc": f"http://127.0.0.1:{rpc_port}",
        "started_ms": time.time_ns() // 1_000_000,
    }
    Path("process.json.new").write_text(json.dumps(process))
    Path("process.json.new").replace("process.json")
    while True:
        connection, _ = control.accept()
        with connection, connection.makefile("rw") as stream:
            for line in stream:
                with Path("told.jsonl").open("a") as told:
                    told.write(line)
                stream.write('{"ok": true}\n')
                stream.flush()


def bind(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        sys.exit(f"port {port} is in use")
    listener.listen()
    return listener


def end(*_: object) -> None:
    if Path("stubborn").exists():
        return
    Path("process.json").unlink(missing_ok=True)
    os._exit(0)


if __name__ == "__main__":
    main()
