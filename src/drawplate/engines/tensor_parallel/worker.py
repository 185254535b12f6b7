"""One rank: `python -m drawplate.engines.tensor_parallel.worker`, started by the engine.

It answers each message on the connection it inherits (see `wire`) with one message, and ends when
that connection does. Every rank gets every message, since each has its part in the sums.

| `do` | array | answer |
|---|---|---|
| `logits` | token ids [batch, sequence] | rank 0: logits [batch, sequence, vocabulary] |
| `step` | token ids [batch, new]; `fresh` empties the cache | rank 0: next token [batch] |
"""

import argparse
import datetime
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from drawplate.engines.wire import receive, send

# A peer that dies breaks its sockets, which is noticed at once; this is for one that hangs.
SUM_TIMEOUT = datetime.timedelta(minutes=10)


def main() -> None:
    """Join the group, load this rank's weights, answer until the engine goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the engine")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="of this rank")
    parser.add_argument("--store", type=Path, required=True, help="file by which ranks meet")
    parser.add_argument("--connection", type=int, required=True, help="inherited descriptor")
    arguments = parser.parse_args()
    # An interrupt reaches the whole process group; the engine's end is what ends a rank.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(arguments.connection)
    try:
        _serve(connection, arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # torch's own errors have no common type
        line = " ".join(str(error).split())
        send(connection, {"error": f"{type(error).__name__}: {line}"})
        raise SystemExit(1) from None


def _serve(connection: Connection, arguments: argparse.Namespace) -> None:
    import torch
    import torch.distributed as dist

    from drawplate.engines.tensor_parallel.model import RankModel

    torch.set_num_threads(arguments.threads)
    model = RankModel(arguments.folder, arguments.rank, arguments.ranks)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{arguments.store}",
        rank=arguments.rank,
        world_size=arguments.ranks,
        timeout=SUM_TIMEOUT,
    )
    send(connection, {"ready": True})
    while True:
        message, array = receive(connection)
        token_ids = torch.from_numpy(array)
        if message["do"] == "logits":
            answer = model.logits(token_ids)
        else:
            answer = model.step(token_ids, message["fresh"])
        send(connection, {"done": True}, None if answer is None else answer.numpy())


if __name__ == "__main__":
    main()
