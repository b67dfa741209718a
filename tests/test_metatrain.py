"""metatrain.py: practice that helps, practice that does not and says so, and runs that are stopped, killed and resumed."""

import dataclasses
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import shape
from PIL import Image
from safetensors.torch import load_file

from byolmeta import commands, fewshot, puzzles
from byolmeta import metatrain as module
from byolmeta.encoder import Encoder, Vectors, load_encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.features import embed
from byolmeta.files import read_card
from byolmeta.images import open_store
from byolmeta.learners import Support, learner
from byolmeta.measure import draw_tasks, measure, practised_learners
from byolmeta.metatrain import metatrain
from byolmeta.practice import Material, Practice
from byolmeta.puzzles import parts_of
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig

QUICK = dict(steps=60, batch=4, check_every=20, judge=60, way=3, query=2, checkpoint_seconds=0)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of ten classes of 14 drawn pictures at 16 px: (store, folder)."""
    folder, random = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    for number in range(10):
        (folder / f"class{number}").mkdir()
        for i in range(14):
            picture = np.asarray(shape(number % 3, random), np.int16) + 20 * number - 90
            path = folder / f"class{number}" / f"{i}.png"
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
    return open_store(folder, tmp_path_factory.mktemp("stores"), 16, workers=1), folder


@pytest.fixture(scope="module")
def drowned(many):
    """Vectors in which two directions name the class and twelve others, which are much longer, say nothing."""
    random = np.random.default_rng(1)
    angle = 2 * np.pi * many[0].labels / 10
    told = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.03 * random.normal(size=(140, 2))
    return np.concatenate([told, 2 * random.normal(size=(140, 12))], 1).astype(np.float32)


def network(width=14):
    """A tiny encoder whose vectors have a size that a readout gives them."""
    encoder = Encoder("conv4", 16).initial(0).eval()
    encoder.readout_mean = torch.zeros(128)
    encoder.readout_matrix = torch.eye(128)[:, -width:].contiguous()  # of the last stage
    return encoder


def practise(many, vectors, folder, run=None, resume=False, encoder=None, untrained=False, file=None, **more):
    config = MetatrainConfig(**QUICK | more)
    if run is None:
        run = Run(folder)
        run.create(config)
    copies = np.arange(len(many[0]))
    return run, metatrain(
        many[0], encoder or network(), vectors, copies, config, run, file=file, untrained=untrained, resume=resume
    )


def checks(run):
    return [(m["step"], m["check"]["accuracy"]) for m in run.metrics() if "check" in m]


@pytest.mark.parametrize("method", ["anil", "metasgd", "ridge", "prototype"])
def test_practice_on_labels_finds_what_tells_classes_apart(many, drowned, tmp_path, method):
    run, result = practise(
        many, drowned, tmp_path / "run", tasks="labels", learner=method, lr=0.03, steps=200, patience=10
    )
    assert result["gain"] and result["difference"] > 0.1 and result["difference"] - result["ci95"] > 0
    assert result["after"] == pytest.approx(result["before"] + result["difference"])
    assert (result["judged_by"], result["tasks"], result["puzzles"]) == ("classes", "labels", 120)
    assert [row["shot"] for row in result["by_shot"]] == [1, 5]
    assert result["message"].startswith("Practice helped: from") and run.status()["state"] == "done"
    encoder, card = load_encoder(run.folder), read_card(run.encoder)
    assert encoder.practice.shape == (14, 14) and practised_learners(card) == [method]
    turned = torch.from_numpy(drowned) @ encoder.practice
    kept, lost = turned[:, :2].norm(), turned[:, 2:].norm()
    assert kept / lost > 2 * np.linalg.norm(drowned[:, :2]) / np.linalg.norm(drowned[:, 2:])
    found = learner(method, card)
    assert type(found) is type(learner(method)) and found != learner(method)
    assert all(isinstance(v, (int, float, str, tuple)) for v in dataclasses.asdict(found).values())


def test_the_file_turns_vectors_as_practice_did(many, drowned, tmp_path):
    run, result = practise(many, drowned, tmp_path / "run", tasks="labels", lr=0.03, steps=100)
    assert result["gain"]
    practised, plain = load_encoder(run.folder), network()
    pictures = many[0].pixels[:20]
    vectors = embed(plain, pictures) @ practised.practice.numpy()
    np.testing.assert_allclose(embed(practised, pictures), vectors, rtol=1e-4, atol=1e-4)
    before = load_file(run.encoder)
    assert all(torch.equal(before[f"encoder.{k}"], v) for k, v in plain.state_dict().items())


def test_without_gain_the_encoder_stays_as_it_was_and_says_so(many, tmp_path):
    noise = np.random.default_rng(0).normal(size=(140, 14)).astype(np.float32)
    run, result = practise(many, noise, tmp_path / "run", tasks="labels", lr=0.01)
    assert not result["gain"] and result["message"].startswith("Practice brought no gain")
    encoder, card = load_encoder(run.folder), read_card(run.encoder)
    assert encoder.practice is None and card["practice"]["in_force"] is False and not practised_learners(card)
    assert learner("anil", card) == learner("anil")
    assert all(torch.equal(v, encoder.state_dict()[k]) for k, v in network().state_dict().items())


def test_what_chooses_and_what_judges_was_never_practised_on(many, drowned):
    store, copies = many[0], np.arange(140)
    for tasks in ("labels", "clusters", "twins", "pseudo"):
        config = MetatrainConfig(**QUICK | {"tasks": tasks, "shot": 1})
        pupils, looks, judges, judged_by = parts_of(store, drowned, copies, config)
        own, held, last = (set(rows % 140) for rows in (pupils.rows, looks.rows, judges.rows))
        assert own and held and not own & held
        if tasks == "labels":
            classes = [set(store.labels[list(rows)]) for rows in (own, held, last)]
            assert not classes[0] & classes[1] and not classes[0] & classes[2] and not classes[1] & classes[2]
        else:  # without labels, which were not practised on, the folders' classes judge
            assert judged_by == "classes" and len(set(store.labels[list(last)])) == 10
            unlabelled = mock.MagicMock(labels=np.full(140, -1), __len__=lambda _: 140)
            pupils, looks, judges, judged_by = parts_of(unlabelled, drowned, copies, config)
            parts = [set(rows % 140) for rows in (pupils.rows, looks.rows, judges.rows)]
            assert (
                judged_by == "puzzles"
                and not parts[0] & parts[1]
                and not parts[0] & parts[2]
                and not parts[1] & parts[2]
            )


def test_a_run_leaves_everything_that_is_promised(many, drowned, tmp_path):
    run, result = practise(many, drowned, tmp_path / "run", tasks="pseudo", steps=40)
    keys = {
        "run",
        "encoder",
        "images",
        "skipped",
        "episodes",
        "steps",
        "seconds",
        "episodes_per_second",
        "before",
        "after",
    }
    assert keys | {"difference", "ci95", "gain", "judged_by", "message"} <= result.keys()
    assert json.loads(json.dumps(result)) == result
    assert (result["steps"], result["episodes"]) == (40, 160)
    assert run.status()["result"] == result and not (run.folder / "stop").exists()
    looked = [m["check"] for m in run.metrics() if "check" in m]
    assert [m["step"] for m in run.metrics() if "check" in m] == [0, 20, 40]
    inner = looked[0]["inner"]
    assert len(inner["scratch"]) == len(inner["practised"]) == 21 and set(inner["scratch"][0]) == {"loss", "accuracy"}
    assert inner["scratch"][0]["loss"] == pytest.approx(np.log(3), abs=1e-4)  # from zero it knows nothing
    for key in ("loss", "accuracy"):  # before the first step of practice it is the same loop
        assert [p[key] for p in inner["practised"]] == pytest.approx([p[key] for p in inner["scratch"]], abs=1e-4)
    assert practise(many, drowned, run.folder, run=run, resume=True, tasks="pseudo", steps=40)[1]["message"].startswith(
        "This run"
    )


def test_one_seed_repeats_a_run_and_another_does_not(many, drowned, tmp_path):
    runs = [
        practise(many, drowned, tmp_path / str(i), tasks="labels", seed=seed)[0] for i, seed in enumerate((0, 0, 1))
    ]
    assert checks(runs[0]) == checks(runs[1]) != checks(runs[2])


@pytest.mark.parametrize("through", ["vectors", "last"])
def test_a_run_that_was_stopped_or_killed_goes_on_as_if_never(many, drowned, tmp_path, through, monkeypatch):
    more = {"tasks": "labels", "through": through, "steps": 40, "check_every": 10, "judge": 10}
    vectors = drowned if through == "vectors" else embed(network(), many[0].pixels)
    whole, result = practise(many, vectors, tmp_path / "whole", **more)
    learn, count = module.learn_from, [0]

    def broken(*given):
        count[0] += 1
        if count[0] == 26:
            raise KeyboardInterrupt  # as good as a kill: nothing is written on the way out
        return learn(*given)

    monkeypatch.setattr(module, "learn_from", broken)
    run = Run(tmp_path / "killed")
    run.create(MetatrainConfig(**QUICK | more))
    with pytest.raises(KeyboardInterrupt):
        practise(many, vectors, None, run=run, **more)
    run.ask("stop")  # then stopped at once when resumed, and resumed again
    practise(many, vectors, None, run=run, resume=True, **more)
    assert run.status()["state"] == "stopped" and run.status()["step"] < 40
    _, again = practise(many, vectors, None, run=run, resume=True, **more)
    for key in ("before", "after", "difference", "ci95", "best_step", "steps"):
        assert again[key] == pytest.approx(result[key], abs=1e-9), key
    assert set(checks(whole)) <= set(checks(run))  # and one more look, where it was stopped
    ours, theirs = load_file(run.encoder), load_file(whole.encoder)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_loss_that_is_no_number_ends_the_run_in_words(many, drowned, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "learn_from", lambda *_: torch.tensor(float("nan")))
    run = Run(tmp_path / "run")
    run.create(MetatrainConfig(**QUICK | {"tasks": "labels"}))
    with pytest.raises(InputError, match="loss became nan at step 0"):
        practise(many, drowned, None, run=run, tasks="labels")
    assert run.status()["state"] == "failed" and load_encoder(run.folder).practice is None


def test_time_and_patience_end_a_run(many, drowned, tmp_path):
    _, timed = practise(many, drowned, tmp_path / "a", tasks="labels", steps=100_000, minutes=0.01, patience=1000)
    assert 0 < timed["steps"] < 100_000 and timed["message"].startswith("The time for it was up.")
    noise = np.random.default_rng(0).normal(size=(140, 14)).astype(np.float32)
    _, bored = practise(many, noise, tmp_path / "b", tasks="labels", steps=5000, check_every=2, patience=3)
    assert bored["steps"] == bored["best_step"] + 6


@pytest.mark.parametrize("method, through", [("prototype", "all"), ("anil", "last"), ("maml", "all"), ("maml", "last")])
@pytest.mark.parametrize("untrained", [True, False])
def test_practice_through_the_network(many, tmp_path, method, through, untrained, monkeypatch):
    monkeypatch.setattr(puzzles, "LOOKED", 10)
    encoder = network() if not untrained else Encoder("conv4", 16).initial(0).eval()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    vectors = embed(encoder, many[0].pixels)
    more = {
        "tasks": "labels",
        "learner": method,
        "through": through,
        "steps": 6,
        "batch": 2,
        "check_every": 3,
        "judge": 4,
    }
    config = MetatrainConfig(**QUICK | more | ({"inner_steps": 2} if method != "prototype" else {}))
    run = Run(tmp_path / "run")
    run.create(config)
    result = metatrain(many[0], encoder, vectors, np.arange(140), config, run, untrained=untrained)
    assert np.isfinite(result["after"]) and result["steps"] == 6
    kept = torch.load(run.resume, weights_only=True)["model"]
    changed = {
        k.removeprefix("network.encoder.")
        for k, v in kept.items()
        if k.startswith("network.encoder.") and not torch.equal(v.cpu(), before[k.removeprefix("network.encoder.")])
    }
    weights = {k for k in changed if k.endswith(("weight", "bias"))}
    assert weights and (through == "all" or all(int(k.split(".")[1]) >= 12 for k in weights))
    learns_statistics = untrained and method != "maml"
    assert any("running" in k for k in changed) == learns_statistics


def test_maml_from_nothing_takes_the_statistics_of_the_support_set():
    settings = MetatrainConfig(learner="maml", through="all", tasks="labels")
    assert module._method({}, settings, untrained=True).norm == "support"
    assert module._method({}, settings, untrained=False).norm == "running"
    assert module._method({}, dataclasses.replace(settings, through="last"), False).stages == "last"


def test_the_outer_gradient_is_that_of_one_task_after_another(many, drowned):
    """The batched outer loop against the plain loop over `adapt`, which test_learners.py checks by finite differences."""
    config = MetatrainConfig(**QUICK | {"tasks": "labels", "shot": 2})
    for method in ("prototype", "ridge", "anil", "metasgd"):
        practice = Practice(learner(method), config, Vectors(network()), 14)
        with torch.no_grad():
            practice.turn += 0.1 * torch.randn(14, 14, generator=torch.Generator().manual_seed(0))
        pupils, *_ = parts_of(many[0], drowned, np.arange(140), config)
        tasks = pupils.draw(np.random.default_rng(0), config)
        bank = torch.from_numpy(drowned[pupils.rows])
        loss = module.learn_from(practice, tasks, bank, None, pupils.rows, 0, False)
        found = {k: p.grad.clone() for k, p in practice.named_parameters()}
        practice.zero_grad()
        total = 0.0
        for i in range(len(tasks.query)):
            support = Support(bank[tasks.support[i]], torch.from_numpy(tasks.support_labels[i]), tasks.way)
            for step in practice.learner().adapt(practice.turned, support, keep_graph=True):
                pass
            truth = torch.from_numpy(tasks.query_labels[i])
            one = torch.nn.functional.cross_entropy(step.predict(bank[tasks.query[i]]), truth)
            (one / len(tasks.query)).backward()
            total += one.item() / len(tasks.query)
        assert float(loss) == pytest.approx(total, rel=1e-4)
        for name, value in practice.named_parameters():
            torch.testing.assert_close(found[name], value.grad, rtol=2e-3, atol=1e-5, msg=f"{method} {name}")


def test_views_are_always_the_same_and_no_picture_is_its_own_view(many):
    material = Material(many[0], embed(network(), many[0].pixels), 0, "photos", 16)
    rows = np.array([3, 7, 143, 147, 283])
    first, again = material.pictures(rows), material.pictures(rows)
    assert torch.equal(first, again) and not torch.equal(first[0], first[2]) and not torch.equal(first[2], first[4])
    np.testing.assert_allclose(first[0].numpy(), many[0].pixels[3] / 255, atol=1e-6)
    assert not torch.equal(material.fresh(rows, 0), material.fresh(rows, 1))
    assert torch.equal(material.fresh(rows, 1), material.fresh(rows, 1))
    net = Vectors(network())
    torch.testing.assert_close(
        material.vectors(net, rows, known=True), material.vectors(net, rows), rtol=1e-4, atol=1e-5
    )


def test_settings_that_cannot_be_are_told():
    for wrong, said in (
        ({"learner": "linear"}, "learner is 'linear'"),
        ({"tasks": "games"}, "pseudo"),
        ({"learner": "maml"}, "--through last or all"),
        ({"way": 1}, "way is 1"),
        ({"shot": -1}, "shot is -1"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"train_way": 1}, "train_way is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"steps": "many"}, "a whole number"),
    ):
        with pytest.raises(InputError, match=said):
            MetatrainConfig(**wrong)


def test_too_few_pictures_are_told(store, tiny_encoder, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(36, 64)).astype(np.float32)
    run = Run(tmp_path / "run")
    run.create(MetatrainConfig(tasks="labels"))
    with pytest.raises(InputError, match="at least 6 of them"):
        metatrain(store, load_encoder(tiny_encoder), vectors, np.arange(36), MetatrainConfig(tasks="labels"), run)
    few = MetatrainConfig(tasks="clusters")
    with pytest.raises(InputError, match="Puzzles of"):
        metatrain(store, load_encoder(tiny_encoder), vectors, np.zeros(36, int), few, run)


def test_the_verb_practises_and_fewshot_takes_what_it_found(many, tmp_path, monkeypatch):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    file = tmp_path / "net.safetensors"
    save_encoder(network(), file, {"trained_on": "nothing"})
    settings = MetatrainConfig(**QUICK | {"tasks": "labels", "steps": 40})
    result = commands.metatrain(str(file), many[1], tmp_path / "run", settings)
    plain = commands.fewshot(str(file), many[1], way=3, shot=1, episodes=40, learner="anil")
    shown = commands.fewshot(
        str(tmp_path / "run"), many[1], way=3, shot=1, episodes=40, learner="anil", versus=f"{file},anil"
    )
    assert shown["practised"] == result["gain"] and plain["practised"] is False
    assert shown["versus_accuracy"] == pytest.approx(plain["accuracy"])
    assert shown["difference"] == pytest.approx(shown["accuracy"] - plain["accuracy"])
    assert shown["difference_ci95_pictures"] >= 0 and shown["saw_labels"] == result["gain"]
    assert shown["versus_saw_labels"] is plain["saw_labels"] is False
    done = commands.metatrain(str(file), many[1], tmp_path / "run", settings, resume=True)
    assert done["message"].startswith("This run had come to its end")
    with pytest.raises(InputError, match="already holds a run"):
        commands.metatrain(str(file), many[1], tmp_path / "run", settings)
    with pytest.raises(InputError, match="no network to practise with"):
        commands.metatrain("pixels", many[1], tmp_path / "other", settings)
    with pytest.raises(InputError, match="--through all"):
        commands.metatrain("untrained", many[1], tmp_path / "other", settings)


def test_measure_uses_the_settings_that_practice_found(many, drowned, tmp_path):
    run, result = practise(many, drowned, tmp_path / "run", tasks="labels", lr=0.03, steps=100)
    tasks, _ = draw_tasks(many[0], 3, 1, 2, 20, 0)
    found = measure(str(run.folder), "anil", many[0], tasks, tmp_path)
    vectors = torch.from_numpy(embed(load_encoder(run.folder), many[0].pixels))
    own = fewshot.episode_accuracies(learner("anil", read_card(run.encoder)), vectors - vectors.mean(0), tasks)
    np.testing.assert_allclose(found.right, own, atol=1e-6)
    assert found.about["practised"] and found.about["saw_labels"] and not found.about["studied"]
    assert not measure(str(run.folder), "ridge", many[0], tasks, tmp_path).about["practised"]


def test_a_second_practice_has_to_beat_the_first_and_loses_nothing(many, drowned, tmp_path):
    file = tmp_path / "net.safetensors"
    head = torch.nn.Linear(3, 3)
    save_encoder(network(), file, {"trained_on": "nothing"}, {"predictor": head})
    first, found = practise(many, drowned, tmp_path / "1", tasks="labels", lr=0.03, steps=100, file=file)
    assert found["gain"] and torch.equal(load_file(first.encoder)["predictor.weight"], head.weight.detach())
    encoder = load_encoder(first.folder)
    turned = drowned @ encoder.practice.numpy()
    more = {"encoder": encoder, "file": first.encoder, "steps": 1, "lr": 1e-9, "tasks": "clusters"}
    second, found = practise(many, turned, tmp_path / "2", **more)
    assert not found["gain"]
    before, after = load_file(first.encoder), load_file(second.encoder)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    cards = read_card(first.encoder), read_card(second.encoder)
    assert cards[0]["practice"] == cards[1]["practice"] and practised_learners(cards[1]) == ["anil"]
    assert [(p["tasks"], p["in_force"]) for p in cards[1]["practices"]] == [("labels", True), ("clusters", False)]
    third, again = practise(
        many, turned, tmp_path / "3", encoder=load_encoder(first.folder), file=first.encoder, tasks="labels"
    )
    assert again["before"] == pytest.approx(practise_figure(first)["after"], abs=0.03)  # not that of the plain encoder
    begun = next(m["check"] for m in third.metrics() if "check" in m)
    assert begun["accuracy"] == pytest.approx(begun["plain"], abs=0.01)  # it begins where the first one ended


def practise_figure(run):
    return run.status()["result"]


def test_noise_is_hardly_ever_taken_for_a_gain(tmp_path):
    """Many puzzles from few pictures are not independent: by their interval alone, noise often looks like a gain."""
    index = mock.MagicMock(skipped=(), source=Path("noise"))
    labels, pixels = np.arange(10).repeat(8), np.zeros((80, 3, 16, 16), np.uint8)
    store = mock.MagicMock(labels=labels, pixels=pixels, fingerprint="noise", index=index, __len__=lambda _: 80)
    claimed, narrow, config = 0, 0, {"tasks": "labels", "steps": 50, "judge": 300}
    for seed in range(10):
        noise = np.random.default_rng(1000 + seed).normal(size=(80, 64)).astype(np.float32)
        run = Run(tmp_path / str(seed))
        run.create(settings := MetatrainConfig(**config, seed=seed))
        found = metatrain(store, network(64), noise, np.arange(80), settings, run)
        claimed += found["gain"]
        narrow += found["difference"] > found["ci95_puzzles"] > 0
        assert found["ci95"] >= found["ci95_puzzles"]
    assert narrow >= 2 and claimed == 0


def test_few_pictures_claim_nothing(many, drowned, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "JUDGING", 10_000)
    run, found = practise(many, drowned, tmp_path / "run", tasks="labels", lr=0.03, steps=60)
    assert not found["gain"] and found["difference"] > found["ci95"] > 0
    assert found["message"].endswith("pictures are too few to tell.") and load_encoder(run.folder).practice is None


def test_a_damaged_practice_is_refused(many, drowned, tmp_path):
    from safetensors.torch import save_file

    run, _ = practise(many, drowned, tmp_path / "run", tasks="labels", lr=0.03, steps=100)
    tensors, card = load_file(run.encoder), read_card(run.encoder)
    for wrong in (
        torch.eye(3),
        torch.full((14, 14), float("nan")),
        torch.zeros(14),
        torch.zeros(14, 14, dtype=torch.float64),
    ):
        save_file(tensors | {"practice.projection": wrong}, tmp_path / "wrong.safetensors", {"card": json.dumps(card)})
        with pytest.raises(InputError, match="practice in 'wrong.safetensors' does not fit"):
            load_encoder(tmp_path / "wrong.safetensors")


def test_classify_takes_what_practice_found_and_a_hub_card_tells_of_it(many, tmp_path, monkeypatch):
    from byolmeta.hub import model_card

    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    practice = {"in_force": True, "tasks": "labels", "store": many[0].fingerprint, "learners": {"anil": {"steps": 0}}}
    save_encoder(network(), tmp_path / "a.safetensors", {"practice": practice, "practices": [practice]})
    rows = commands.classify(str(tmp_path / "a.safetensors"), many[1], many[1])["images"]
    # a head that took no step knows nothing: a tenth each, times the chance to be of one of the classes
    assert all(row["score"] <= 0.1001 for row in rows) and max(row["score"] for row in rows) > 0.05
    save_encoder(network(), tmp_path / "b.safetensors", {"practice": practice | {"in_force": False}})
    rows = commands.classify(str(tmp_path / "b.safetensors"), many[1], many[1])["images"]
    assert max(row["score"] for row in rows) > 0.2
    told, plain = (model_card(read_card(tmp_path / f"{name}.safetensors"), "ada/x") for name in "ab")
    assert "then practised with labels" in told and "without labels" not in told and "practised on" in told
    assert "pretrained without labels (BYOL)" in plain and "practised on" not in plain


def test_what_was_learned_with_labels_is_told_through_parents(many):
    from byolmeta.measure import saw_labels

    seen = {"store": many[0].fingerprint, "tasks": "labels", "in_force": True}
    for card in ({"practice": seen}, {"practices": [seen, {}]}, {"parent": {"parent": {"practices": [seen]}}}):
        assert saw_labels(card, many[0])
    for card in (
        {},
        {"practice": seen | {"tasks": "pseudo"}},
        {"practices": [seen | {"in_force": False}]},
        {"practices": 3, "parent": 4},
    ):
        assert not saw_labels(card, many[0])
