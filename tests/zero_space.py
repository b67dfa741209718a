"""The app as on a Space with ZeroGPU, for tests: the real package `spaces`, and in this process what it asks for GPUs.

`python tests/zero_space.py FILE` with the flags of app.py. There is no GPU, so what a forked process does first, to bring CUDA
up, is left out. Each request for a GPU is a line in FILE; the third and later ones are refused.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlparse

sys.path.insert(0, str(Path(__file__).parents[1]))
ASKED, LENT = Path(sys.argv.pop(1)), 2


class Devices(BaseHTTPRequestHandler):
    """Answers as the API of ZeroGPU's devices does."""

    scheduled = 0

    def do_POST(self) -> None:
        address = urlparse(self.path)
        with open(ASKED, "a") as file:
            file.write(json.dumps({"path": address.path, "ready": ready()} | dict(parse_qsl(address.query))) + "\n")
        answer, status = {}, 200
        if address.path == "/schedule":
            Devices.scheduled += 1
            answer = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": f"loan {self.scheduled}"}
            if self.scheduled > LENT:
                answer, status = {"left": 20, "wait": 3600}, 429
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def ready() -> bool:
    """Whether all that a study imports is imported, so that it can be forked."""
    from byolmeta.ui.zero import USED

    found = [sys.modules.get(name) for name in USED]
    return all(module and not getattr(module.__spec__, "_initializing", False) for module in found)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Devices)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ.pop(
        "OMP_NUM_THREADS", None
    )  # threads as on a Space: those of the page are not there in a forked process
    os.environ |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}"}
    import app
    from byolmeta import ui
    from byolmeta.settings import PretrainConfig
    from byolmeta.ui import learn, zero

    assert ui and zero.present()
    import spaces.zero.torch as patched

    patched.init, patched.move = lambda uuid: None, lambda callback=None: None
    learn.PretrainConfig = lambda **values: PretrainConfig(**values | {"minutes": 0, "epochs": 0.4})  # 4 steps
    zero.LESSON = 0  # one each
    app.main()


if __name__ == "__main__":
    main()
