"""What programs may call over HTTP: named endpoints that do what the commands of the same names do."""

from pathlib import Path

import gradio as gr
import numpy as np
from gradio import FileData

from byolmeta.errors import InputError
from byolmeta.ui import teach
from byolmeta.ui.drop import received_file
from byolmeta.ui.workspace import Workspace

MOST = 500  # pictures in one call


def connect(work: Workspace) -> None:
    """Adds the endpoints to the page that is being built."""

    def classify(images: list[FileData], project: FileData | None = None) -> list[dict]:
        """Sort pictures into taught classes.

        Args:
            images: the pictures, up to 500
            project: a project file NAME.byolmeta that was saved on the page or by the command classify; left out, the
                boxes of the page as they are now, where it runs on one's own computer
        """
        try:
            return classified(work, images, project)
        except InputError as problem:
            raise gr.Error(str(problem), print_exception=False) from None

    gr.api(classify, api_name="classify", concurrency_limit=2)


def classified(work: Workspace, images: list[dict], project: dict | None) -> list[dict]:
    """For each picture {name, label, score, none_of_these} as `classify` on the command line has them, in their order."""
    import torch

    from byolmeta import features
    from byolmeta.classifier import rows_of
    from byolmeta.images import read_image

    if not isinstance(images, (list, tuple)) or not 0 < len(images) <= MOST:
        found = len(images) if isinstance(images, (list, tuple)) else "something else than a list"
        raise InputError(f"1 to {MOST} pictures are possible in one call; it has {found}. Send a list of files.")
    files = [_file(image) for image in images]
    if project is None and work.public:
        raise InputError(
            "No project file is sent. A shared computer keeps no boxes for programs; send one as `project`."
        )
    if project is None:
        session = work.session("local")
        where = work.encoder(session)
        encoder, classifier = work.eye(session, where), teach.classifier_of(work, session, where)
    else:
        encoder, classifier = _opened(work, _file(project)[0])
    pixels = np.stack([read_image(Path(path), encoder.image_size, work.limits) for path, _ in files])
    answer = classifier.sort(torch.from_numpy(features.embed(encoder, pixels)))
    rows = rows_of([name for _, name in files], answer, classifier.names)
    return [{"name": row.pop("path")} | row for row in rows]  # clients take a "path" for a file to fetch


def _file(sent) -> tuple[str, str]:
    """(path, name) of a file that the caller sent to this server."""
    named = sent if isinstance(sent, dict) else {}
    return received_file({"path": named.get("path"), "name": named.get("orig_name")})


def _opened(work: Workspace, path: str):
    """The encoder and the classifier of a project file; nothing of it stays on disk."""
    import tempfile

    from byolmeta.encoder import load_encoder
    from byolmeta.project import open_project

    with tempfile.TemporaryDirectory() as folder:
        found = open_project(path, Path(folder))
        return load_encoder(found.encoder), found.classifier
