"""why.py and ui/why.py: the parts that a picture shares with an example are found, and what would be without it is true."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from byolmeta import classifier, why
from byolmeta.learners import learner

SIZE = 32
LEFT, RIGHT = np.s_[:, 2:10, 2:10], np.s_[:, 22:30, 22:30]


def picture_of(seed: int, *spots) -> np.ndarray:
    picture = np.random.default_rng(seed).integers(90, 110, (3, SIZE, SIZE), dtype=np.uint8)
    for spot, light in spots:
        picture[spot] = light
    return picture


def vectors_of(pixels: np.ndarray) -> torch.Tensor:
    """Pixels, shrunk: what a part says is then where the part is."""
    return torch.from_numpy(pixels[:, :, ::2, ::2].reshape(len(pixels), -1).astype(np.float32) / 255)


EXAMPLES = np.stack(
    [
        picture_of(n, (spot, light))
        for n, (spot, light) in enumerate([(LEFT, 240), (LEFT, 200), (RIGHT, 240), (RIGHT, 220)])
    ]
)
FOLDER = np.concatenate([EXAMPLES, np.stack([picture_of(9 + n, (LEFT if n % 2 else RIGHT, 230)) for n in range(12)])])
LABELS = np.array([0, 0, 1, 1])


def taught(name: str, places=(0, 1, 2, 3)):
    places = np.array(places)
    return classifier.teach(learner(name, {}), vectors_of(FOLDER), places, LABELS[places], ["left", "right"])


@pytest.mark.parametrize("name", ["prototype", "ridge", "anil", "linear"])
def test_shared_parts_are_found_in_the_picture_and_in_the_example(name):
    asked = picture_of(50, (LEFT, 235))
    every = range(4)
    found = why.explain(
        taught(name), vectors_of, asked, EXAMPLES, lambda out: taught(name, [i for i in every if i != out]), truth=1
    )
    assert (found.answer.said, found.answer.against) == (0, 1)
    assert {match.place for match in found.matches if match.label == 0} == {0, 1}
    assert {match.place for match in found.matches if match.label == 1} == {2, 3}
    for match in found.matches[:2]:
        for heat in (match.here, match.there):
            top, left = np.unravel_index(heat.argmax(), heat.shape)
            assert top < 4 and left < 4 and heat[:3, :3].mean() > 3 * abs(heat[4:, 4:].mean())
        first, second = (
            vectors_of(each[None])[0] - vectors_of(FOLDER).mean(0) for each in (asked, EXAMPLES[match.place])
        )
        assert match.near == pytest.approx(float(torch.cosine_similarity(first, second, 0)), abs=1e-5)


def test_without_is_what_the_classifier_says_without_the_example():
    asked = picture_of(51, (LEFT, 180), (RIGHT, 200))
    found = why.explain(
        taught("anil"), vectors_of, asked, EXAMPLES, lambda out: taught("anil", [i for i in range(4) if i != out])
    )
    for match in found.matches:
        left = [i for i in range(4) if i != match.place]
        chances = taught("anil", left).chances(vectors_of(asked[None]))[0][0]
        assert match.without == pytest.approx(float(chances[found.answer.said]), abs=1e-6)
    assert len({round(match.without, 4) for match in found.matches}) > 1


def test_the_only_example_of_a_box_has_no_without():
    kept = (0, 2, 3)

    def retaught(out: int):
        return taught("anil", [place for number, place in enumerate(kept) if number != out])

    asked = picture_of(52, (LEFT, 235))
    found = why.explain(taught("anil", kept), vectors_of, asked, EXAMPLES[list(kept)], retaught)
    assert [match.without is None for match in found.matches] == [True, False, False]
    assert found.matches[0].label == 0


def test_the_nearest_come_first_and_no_more_than_are_shown():
    made = classifier.teach(
        learner("anil", {}), vectors_of(FOLDER), np.arange(16), np.array([0, 0, 1, 1] + [1, 0] * 6), ["left", "right"]
    )
    vector = vectors_of(picture_of(53, (LEFT, 235))[None])[0]
    places = why.nearest(made, vector, 0, 1)
    assert len(places) == why.OWN + why.OTHERS
    near = why._cosines(made, vector[None], made.vectors)[0]
    own = np.flatnonzero(made.labels == 0)
    assert set(places[: why.OWN]) == set(own[np.argsort(-near[own].numpy())][: why.OWN].tolist())


# ---- the card

gradio = pytest.importorskip("gradio")

from byolmeta.errors import InputError  # noqa: E402
from byolmeta.ui import why as card  # noqa: E402
from byolmeta.ui.words import table  # noqa: E402
from byolmeta.ui.workspace import Workspace  # noqa: E402

WORDS = table("en")


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, pictures, tiny_encoder):
    session = work.session("asks")
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    store = work.pictures(session).store
    for box, label in zip(session.boxes["boxes"], (0, 1), strict=True):
        box["items"] = np.flatnonzero(store.labels == label)[:3].tolist()
    return session


def sent(**values):
    return SimpleNamespace(**values)


def test_a_card_says_what_the_board_says_and_whether_that_is_right(work, session):
    from byolmeta.ui import teach

    store, made = work.pictures(session).store, teach.classifier_of(work, session, work.encoder(session))
    answers = made.sort(torch.from_numpy(work.bank(session)))
    names = [box["name"] for box in session.boxes["boxes"]]
    for row in (np.flatnonzero(store.labels == 0)[5], np.flatnonzero(store.labels == 1)[6]):
        text = card.asked(work, WORDS, session, int(row))
        said = names[answers.label[row]]
        right = answers.label[row] == store.labels[row]
        assert (f"Goes to {said}, as its folder says" in text) == right
        assert (f"Goes to {said}, with" in text and "but its folder says" in text) == (not right)
        assert text.count("<li") == 5 and text.count("data-act='mute'") == 5
    assert "its folder" not in card.asked(work, WORDS, session, int(np.flatnonzero(store.labels == 2)[0]))


def test_not_because_of_this_leaves_the_example_in_its_box_uncounted(work, session):
    from byolmeta.ui import teach

    row = int(np.flatnonzero(work.pictures(session).store.labels == 0)[5])
    card.asked(work, WORDS, session, row)
    example, rev = session.boxes["boxes"][0]["items"][0], session.boxes["rev"]
    board, _ = card.pressed(work, WORDS, session, sent(act="mute", id=example))
    assert session.boxes["boxes"][0]["muted"] == [example] and example in session.boxes["boxes"][0]["items"]
    assert board["boxes"]["force"] is True and session.boxes["rev"] == rev + 1
    assert example not in teach.task_of(session)[1] and len(teach.task_of(session)[1]) == 5
    text = card.card(work, WORDS, session)
    assert f"data-act='mute' data-id='{example}'" not in text and "Why?" in text


def test_closing_and_what_has_gone(work, session):
    row = int(np.flatnonzero(work.pictures(session).store.labels == 0)[5])
    assert card.card(work, WORDS, session) == ""
    card.asked(work, WORDS, session, row)
    assert card.pressed(work, WORDS, session, sent(act="close", id=-1))[1] == "" == card.card(work, WORDS, session)
    for wrong in (-1, 36, "7", None, True, 2.0, session.boxes["boxes"][0]["items"][0]):
        with pytest.raises(InputError, match="no answer"):
            card.asked(work, WORDS, session, wrong)
    with pytest.raises(InputError, match="changed"):
        card.pressed(work, WORDS, session, sent(act="mute", id=row))  # lies in no box
    session.boxes["boxes"][1]["items"] = []
    with pytest.raises(InputError, match="two boxes"):
        card.asked(work, WORDS, session, row)


def test_a_picture_that_went_into_a_box_closes_its_card(work, session):
    row = int(np.flatnonzero(work.pictures(session).store.labels == 0)[5])
    card.asked(work, WORDS, session, row)
    session.boxes["boxes"][0]["items"].append(row)
    assert card.card(work, WORDS, session) == "" and work.seen(session)["why"] is None


def test_names_are_text(work, session):
    session.boxes["boxes"][0]["name"] = "<img src=x>"
    row = int(np.flatnonzero(work.pictures(session).store.labels == 0)[5])
    assert "<img src=x>" not in card.asked(work, WORDS, session, row)


def test_a_cell_opens_the_pictures_that_it_counts(work, session):
    from byolmeta.adapt import sort_pictures
    from byolmeta.ui import teach

    filled, support, labels = teach.task_of(session)
    found, vectors = work.pictures(session), torch.from_numpy(work.bank(session))
    ids, truth = teach.checks_of(found, support, labels, found.copies)
    method = teach.learner_of(work, session, work.encoder(session))
    counts = teach.confusion_of(sort_pictures(method, vectors, support, labels, 2).label, 2, ids, truth)
    for box in range(2):
        for answer in range(2):
            text = card.cell(work, WORDS, session, answer, box)
            assert text.count("data-act='why'") == counts[box, answer]
            how = "answered right" if box == answer else f"taken for {filled[answer]['name']}"
            assert text.startswith(f"<p class='quiet'>{filled[box]['name']}, {how}: {counts[box, answer]}.")
            assert ("Press one" in text) == (counts[box, answer] > 0)
    assert counts.sum() == len(ids) and (counts > 0).sum() > 1
    for wrong in ((2, 0), (0, -1), (None, 0), ("0", 0)):
        with pytest.raises(InputError):
            card.cell(work, WORDS, session, *wrong)
