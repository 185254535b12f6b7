"""A compose deployment behind HAProxy: started, updated without a pause, rolled back.

    python scripts/rolling_update.py start artifacts/smollm2/image --compose artifacts/smollm2/image/deploy/compose.yaml
    make image                                     # another version, in the same place
    python scripts/rolling_update.py update artifacts/smollm2/image
    python scripts/rolling_update.py rollback

An image is the folder of one, or a reference such as registry.example.com/models/smollm2@sha256:...
"""

import argparse
import dataclasses
import json
from pathlib import Path

from drawplate.artifacts.files import write_json
from drawplate.deploy.rolling import Rolling
from drawplate.deploy.steady import play
from drawplate.errors import one_line_errors


def main() -> None:
    """Do what is said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--state", type=Path, default=Path(".drawplate/rolling"), help="folder that remembers"
    )
    actions = parser.add_subparsers(dest="action", required=True)
    start = actions.add_parser("start", help="start a version, and the proxy before it")
    start.add_argument("image")
    start.add_argument("--compose", type=Path, required=True, help="the compose file")
    start.add_argument("--command", help="that reads it (default: podman-compose)")
    start.add_argument("--port", type=int, default=8000, help="of the proxy; the next two are used")
    update = actions.add_parser("update", help="put another version in place of the present one")
    update.add_argument("image")
    back = actions.add_parser("rollback", help="bring back the version before")
    witness = actions.add_parser("play", help="update and roll back under constant load")
    witness.add_argument("image")
    witness.add_argument("--clients", type=int, default=4, help="that ask at once")
    witness.add_argument("--key-file", type=Path, help="the API key, if one is asked for")
    witness.add_argument("--json", type=Path, help="file to write what was seen to")
    for one in (update, back, witness):
        one.add_argument(
            "--keep", action="store_true", help="leave the old container running, for a rollback"
        )
    actions.add_parser("status", help="what stands where")
    actions.add_parser("stop", help="end proxy and containers")
    arguments = parser.parse_args()
    with one_line_errors():
        _do(arguments, Rolling(arguments.state))


def _do(arguments: argparse.Namespace, rolling: Rolling) -> None:
    if arguments.action == "start":
        rolling.start(arguments.compose, arguments.command, arguments.image, arguments.port)
    elif arguments.action == "update":
        rolling.update(arguments.image, keep=arguments.keep)
    elif arguments.action == "rollback":
        rolling.rollback(keep=arguments.keep)
    elif arguments.action == "status":
        print(json.dumps(dataclasses.asdict(rolling.read()), indent=1))
    elif arguments.action == "stop":
        rolling.stop()
    else:
        clients, key = arguments.clients, arguments.key_file
        seen = play(rolling, arguments.image, clients, key, keep=arguments.keep)
        print(json.dumps(seen, indent=1))
        if arguments.json:
            write_json(arguments.json, seen)


if __name__ == "__main__":
    main()
