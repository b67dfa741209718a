"""Plotly figures as plain dicts, made from arrays. Colours are Okabe and Ito's, with dash or symbol as a second cue."""

import json

import numpy as np

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#666666")
QUIET = {"pixels": ("#999999", "dot"), "untrained": ("#CC79A7", "dash"), "starter": ("#56B4E9", "dashdot"),
         "unpractised": ("#009E73", "longdash")}  # fmt: skip
MAIN = "#0072B2"
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
OTHER = "#E69F00"  # beside MAIN where two lines are compared
BAND = "rgba(0,114,178,.14)"
GROWS = {"grows": True}  # of a line that the chart can show in part
FAINT = 8  # earlier looks that are drawn beside the newest one


def _layout(**more) -> dict:
    base = {
        "margin": {"l": 48, "r": 16, "t": 12, "b": 40},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "x unified",
    }
    return base | more


def accuracy_figure(traces: dict[str, list], names: dict[str, str], chance: float, words: dict[str, str]) -> dict:
    """Accuracy over inner steps: the current encoder with its range as a band, the baselines in thin lines.

    All of these are marked as growing: the chart can show them up to a step.
    `traces`: {key: [adapt.Accuracy after step 0, 1, ...]}, the current encoder under "yours".
    """
    data, longest = [], max((len(t) for t in traces.values()), default=1)
    for key, trace in traces.items():
        main = key == "yours"
        colour, dash = (MAIN, "solid") if main else QUIET[key]
        steps = list(range(len(trace)))
        values = [100 * a.value for a in trace]
        if len(trace) == 1 and longest > 1:  # nothing is trained: a level line
            steps, values = [0, longest - 1], values * 2
        if main and trace:
            ranges = [a.range for a in trace] * (2 if len(trace) == 1 and longest > 1 else 1)
            band = {"x": steps + steps[::-1], "y": [100 * r[1] for r in ranges] + [100 * r[0] for r in ranges[::-1]]}
            data.append(band | {"fill": "toself", "fillcolor": BAND, "line": {"width": 0},
                                "hoverinfo": "skip", "showlegend": False, "mode": "lines", "meta": GROWS})  # fmt: skip
        data.append({
            "x": steps, "y": values, "meta": GROWS, "mode": "lines+markers" if main else "lines", "name": names[key],
            "line": {"color": colour, "dash": dash, "width": 4 if main else 1.8}, "marker": {"size": 6},
            "hovertemplate": "%{y:.0f} %",
        })  # fmt: skip
    data.append({"x": [0, max(1, longest - 1)], "y": [100 * chance] * 2, "mode": "lines", "name": words["chance"],
                 "line": {"color": "#999999", "width": 1, "dash": "dot"}, "hoverinfo": "skip"})  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": words["axis_steps"]}, "range": [-0.3, max(1, longest - 1) + 0.3]},
        "yaxis": {"title": {"text": words["axis_right"]}, "range": [0, 103], "ticksuffix": " %"},
    }
    return {"data": data, "layout": _layout(**axes)}


def loss_figure(metrics: list[dict], words: dict[str, str]) -> dict:
    """The loss over the steps, thinned to at most 300 points."""
    lines = [m for m in metrics if "loss" in m]
    lines = lines[:: max(1, len(lines) // 300)]
    line = {"x": [m["step"] for m in lines], "y": [round(m["loss"], 4) for m in lines], "mode": "lines",
            "line": {"color": "#666666", "width": 2}, "name": words["loss"]}  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": words["axis_step"]}},
        "yaxis": {"title": {"text": words["loss"]}, "rangemode": "tozero"},
    }
    return {"data": [line], "layout": _layout(showlegend=False, **axes)}


def quality_figure(metrics: list[dict], steps: int, words: dict[str, str]) -> dict:
    """Over all `steps` of the run: twins found, spread and (with class folders) k-NN over the steps, in per cent."""
    checks = [(m["step"], m["check"]) for m in metrics if "check" in m]
    rows = [
        ("twin", words["twin"], MAIN, "solid"),
        ("knn", words["knn"], "#009E73", "dash"),
        ("spread", words["spread"], "#E69F00", "dot"),
    ]
    data = [
        {"x": [s for s, _ in checks], "y": [round(100 * min(1.0, c[key]), 1) for _, c in checks],
         "mode": "lines+markers", "hovertemplate": "%{y:.0f} %",
         "name": name, "line": {"color": colour, "dash": dash, "width": 3 if key == "twin" else 2}}
        for key, name, colour, dash in rows
        if checks and checks[-1][1][key] is not None
    ]  # fmt: skip
    last = max([steps, 1, *(step for step, _ in checks)])
    axes = {
        "xaxis": {"title": {"text": words["axis_step"]}, "range": [-0.02 * last, 1.02 * last]},
        "yaxis": {"range": [0, 103], "ticksuffix": " %"},
    }
    return {"data": data, "layout": _layout(**axes)}


def practice_figure(checks: list[tuple[int, dict]], kept: int | None, last: int, words: dict[str, str]) -> dict:
    """Accuracy on new puzzles over the steps of practice, with its range as a band, against the level line without it.

    `checks`: (step, check) as metrics.jsonl has them; `kept`: the step whose state was kept; `last`: where the axis ends.
    """
    steps, right = [step for step, _ in checks], [100 * check["accuracy"] for _, check in checks]
    halves, plain = [100 * check["ci95"] for _, check in checks], 100 * checks[-1][1]["plain"]
    low, high = ([r + sign * h for r, h in zip(right, halves, strict=True)] for sign in (-1, 1))
    data = [
        {"x": steps + steps[::-1], "y": _rounded(high + low[::-1]), "fill": "toself", "fillcolor": BAND, "mode": "lines",
         "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False},
        {"x": [0, last], "y": [plain] * 2, "mode": "lines", "name": words["without_practice"],
         "line": {"color": OTHER, "dash": "dash", "width": 2.5}, "hovertemplate": "%{y:.0f} %"},
        {"x": steps, "y": _rounded(right), "mode": "lines", "name": words["with_practice"],
         "line": {"color": MAIN, "width": 3.5}, "hovertemplate": "%{y:.0f} %"},
    ]  # fmt: skip
    if kept in steps:
        data.append({"x": [kept], "y": [round(right[steps.index(kept)], 1)], "mode": "markers+text", "hoverinfo": "skip",
                     "text": [words["kept"]], "textposition": _beside(kept / max(1, last)), "showlegend": False,
                     "cliponaxis": False, "marker": {"color": MAIN, "size": 12, "symbol": "diamond"}})  # fmt: skip
    bottom, top = min(*low, plain), max(*high, plain)
    room = max(2.0, (24 - (top - bottom)) / 2)  # never so close that noise looks like a climb
    axes = {
        "xaxis": {"title": {"text": words["axis_practice"]}, "range": [-0.02 * last, 1.02 * last]},
        "yaxis": {"range": [max(0.0, bottom - room), min(103.0, top + room)], "ticksuffix": " %"},
    }
    return {"data": data, "layout": _layout(**axes)}


def inner_figures(checks: list[tuple[int, dict]], kept: int | None, words: dict[str, str]) -> dict[str, dict]:
    """{"accuracy", "loss"} on new puzzles after 0, 1, 2 ... inner steps, from the practised start and from scratch; earlier
    looks are faint. Empty for a learner without inner steps. The kept look, once there is one, stands for the newest.

    The first steps do most, so the axis of steps is logarithmic (of 1 + n).
    """
    found = [(step, check["inner"]) for step, check in checks if check.get("inner")]
    if not found:
        return {}
    main = next((at for at, (step, _) in enumerate(found) if step == kept), len(found) - 1)
    earlier = [at for at in range(1, main)]  # the first look is the scratch line
    earlier = earlier[:: max(1, -(-len(earlier) // FAINT))]
    return {
        key: _inner_figure(key, found[main][1], [found[at][1] for at in earlier], words) for key in ("accuracy", "loss")
    }


def _inner_figure(key: str, inner: dict, earlier: list[dict], words: dict[str, str]) -> dict:
    count, unit = len(inner["scratch"]), 100 if key == "accuracy" else 1
    ending = ":.0f} %" if key == "accuracy" else ":.2f}"
    x = np.log2(1 + np.arange(count)).round(3).tolist()
    shown = [n for n in (0, 1, 2, 3, 5, 10, 20, 50, 100) if n < count]

    def values(trace: list[dict]) -> list[float]:
        return [round(unit * each[key], 3) for each in trace]

    data = [
        {"x": x, "y": values(each["practised"]), "mode": "lines", "line": {"color": MAIN, "width": 1.5}, "hoverinfo": "skip",
         "opacity": round(0.18 + 0.3 * at / len(earlier), 2), "showlegend": False}
        for at, each in enumerate(earlier)
    ]  # fmt: skip
    for name, colour, dash, symbol, width in (
        ("scratch", OTHER, "dash", "square", 2.5), ("practised", MAIN, "solid", "circle", 4),
    ):  # fmt: skip
        y = values(inner[name])
        data.append({
            "x": x, "y": y, "customdata": list(range(count)), "mode": "lines",
            "name": words["with_practice" if name == "practised" else "without_practice"],
            "line": {"color": colour, "dash": dash, "width": width},
            "hovertemplate": words["after_steps"] + " %{customdata}: <b>%{y" + ending + "</b>",
        })  # fmt: skip
        data.append({"x": [x[n] for n in shown], "y": [y[n] for n in shown], "mode": "markers", "hoverinfo": "skip",
                     "showlegend": False, "marker": {"size": 8, "symbol": symbol, "color": colour}})  # fmt: skip
    if key == "accuracy":  # without practice the head knows nothing before its first step
        data.append({"x": [x[0] - 0.15, x[-1] + 0.15], "y": [values(inner["scratch"])[0]] * 2,
                     "mode": "lines+text", "text": ["", words["chance"]], "textposition": "top left", "showlegend": False,
                     "textfont": {"color": "#888888"}, "name": words["chance"], "line": {"color": "#999999", "width": 1, "dash": "dot"},
                     "hoverinfo": "skip"})  # fmt: skip
    every = [y for trace in data for y in trace["y"]]
    axes = {
        "xaxis": {"title": {"text": words["axis_steps"]}, "tickvals": np.log2(1 + np.array(shown)).round(3).tolist(),
                  "ticktext": [str(n) for n in shown], "range": [-0.15, x[-1] + 0.15], "zeroline": False,
                  "showgrid": False},
        "yaxis": {"range": [max(0.0, min(every) - 8), min(103.0, max(every) + 8)], "ticksuffix": " %"} if unit == 100 else {"rangemode": "tozero"},
    }  # fmt: skip
    return {"data": data, "layout": _layout(hovermode="closest", **axes)}


def _beside(share: float) -> str:
    """Where a mark's text stands so that the edge of the figure does not cut it, by the mark's share of the width."""
    return "top right" if share < 0.12 else "top left" if share > 0.88 else "top center"


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


def confusion_figure(matrix: np.ndarray, names: list[str], words: dict[str, str]) -> dict:
    """How checked pictures fell: rows are the true boxes, columns the answers, both by number, as two may have one name."""
    numbers = list(range(len(names)))
    ticks = {"tickvals": numbers, "ticktext": names}
    cells = {"type": "heatmap", "z": matrix.tolist(), "x": numbers, "y": numbers, "colorscale": [[0, "#f2f6fb"], [1, "#4a90c4"]], "showscale": False,
             "text": matrix.tolist(), "texttemplate": "%{text}", "textfont": {"color": "#10243a"},
             "customdata": [[f"{row} → {column}" for column in names] for row in names],
             "hovertemplate": "%{customdata}: %{z}<extra></extra>"}  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": words["axis_answer"]}, "automargin": True} | ticks,
        "yaxis": {"title": {"text": words["axis_truth"], "standoff": 12}, "autorange": "reversed", "automargin": True}
        | ticks,
    }
    return {
        "data": [cells],
        "layout": _layout(showlegend=False, hovermode="closest", margin={"l": 90, "r": 10, "t": 10, "b": 60}, **axes),
    }


def measured_figure(names: list[str], found: dict[int, list], chance: float, words: dict[str, str]) -> dict:
    """Accuracy of each line as a dot with its 95 % interval, for each number of examples, from the top down.

    `found`: {shot: [(accuracy, half its interval, tasks) or None, for each name]}.
    """
    count, data = len(names), []
    for place, (shot, values) in enumerate(found.items()):
        rows = [(row, value) for row, value in enumerate(values) if value]
        shift = (place - (len(found) - 1) / 2) * 0.16
        data.append({
            "x": [round(100 * mean, 2) for _, (mean, _, _) in rows], "y": [round(row + shift, 3) for row, _ in rows],
            "error_x": {"array": [round(100 * half, 2) if n > 1 else 0 for _, (_, half, n) in rows], "thickness": 2, "width": 5},
            "mode": "markers", "name": words["measure_column"].format(shot=shot), "text": [_plain(names[row]) for row, _ in rows],
            "marker": {"color": COLOURS[place % len(COLOURS)], "size": 9, "symbol": SYMBOLS[place % len(SYMBOLS)]},
            "hovertemplate": "%{text}<br>%{x:.1f} ± %{error_x.array:.1f} %",
        })  # fmt: skip
    line = {"type": "line", "x0": 100 * chance, "x1": 100 * chance, "y0": 0, "y1": 1, "yref": "paper", "layer": "below",
            "name": words["chance"], "showlegend": True, "line": {"color": "#999999", "width": 1, "dash": "dot"}}  # fmt: skip
    labels = ["<br>".join(_plain(_short(part, 22)) for part in name.split(" · ")) for name in names]
    axes = {
        "xaxis": {"title": {"text": words["measure_axis"]}, "ticksuffix": " %"},
        "yaxis": {"tickvals": list(range(count)), "ticktext": labels, "range": [count - 0.5, -0.5], "zeroline": False},
    }
    return {"data": data, "layout": _layout(hovermode="closest", shapes=[line], **axes)}


def confusions_figure(counts: np.ndarray, asked: np.ndarray, names: list[str], words: dict[str, str]) -> dict:
    """Share of each true class's questions by the class that was answered; a press on a cell opens its pictures."""
    share = 100 * counts / np.maximum(asked, 1)[:, None]
    few = len(names) <= 12
    labels = [_plain(_short(name, 14 if few else 10)) for name in names]
    whole = [_plain(name) for name in names]
    text = [[words["measure_hover"].format(truth=t, said=s) for s in whole] for t in whole]
    cells = {
        "type": "heatmap", "z": np.round(share, 1).tolist(), "zmin": 0, "zmax": 100, "showscale": False, "xgap": 1, "ygap": 1,
        "colorscale": [[0, "#f4f7fb"], [0.08, "#d3e4f2"], [0.25, "#9dc4e3"], [1, "#4a90c4"]], "text": text, "customdata": counts.tolist(),
        "hovertemplate": "%{text}<br>%{z:.1f} % (%{customdata})<extra></extra>",
    }  # fmt: skip
    if few:
        cells |= {"texttemplate": "%{z:.0f}", "textfont": {"color": "#10243a"}}
    ticks = {"tickvals": list(range(len(names))), "ticktext": labels, "showgrid": False, "zeroline": False}
    axes = {
        "xaxis": ticks
        | {"title": {"text": words["measure_taken"]}, "tickangle": -45 if sum(map(len, labels)) > 40 else 0},
        "yaxis": ticks | {"title": {"text": words["measure_truth"], "standoff": 12}, "autorange": "reversed"},
    }
    return {
        "data": [cells],
        "layout": _layout(showlegend=False, hovermode="closest", margin={"l": 60, "r": 10, "t": 10, "b": 60}, **axes),
    }


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _plain(name: str) -> str:
    """A file's name with nothing that Plotly would read as markup."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return json.dumps(name, ensure_ascii=False)[1:-1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
