"""The plots of docs/performance.md, from the JSON of the suite.

``python tests/benchmarks/plots.py [FOLDER [OUT]]``

Rules:
- A plot shows medians of one run; zxmpp is blue, what it is compared with grey.
- What a result does not have (a quick run leaves parts out) is not drawn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

__all__ = ["draw"]

OURS, OTHER, PALE = "#1f5fa8", "#7a7a7a", "#bdbdbd"
Figures = Mapping[str, Any]


def _axes(columns: int, width: float = 9.0, height: float = 3.2) -> tuple[Figure, Sequence[Any]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
    return figure, axes


def _title(axes: Any, text: str, unit: str) -> None:
    axes.set_title(f"{text}\n{unit}", fontsize=9, loc="left")


def _write_values(axes: Any, bars: Any) -> None:
    axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)


def _sockets(figures: Figures) -> Figure:
    names = ("pipeline", "bare", "aiozmq", "zmq_asyncio", "zmq_anyio")
    labels = ("zxmpp: plugin's handler", "blocking loop", "aiozmq", "zmq.asyncio", "zmq-anyio")
    figure, (axes,) = _axes(1, height=2.4)
    values = [figures[f"{name}_messages_per_second"] for name in names]
    _write_values(axes, axes.barh(labels, values, color=[OURS, PALE, OTHER, OTHER, OTHER]))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _title(axes, "From a PULL socket into a handler", "messages/s")
    return figure


def _burst(figures: Figures) -> Figure:
    budgets = [32, 64, 128, 256, 512, 1024, 4096]
    labels = [str(budget) for budget in budgets]
    figure, (rate, wait) = _axes(2, height=2.8)
    rates = [figures[f"budget_{budget}_per_second"] for budget in budgets]
    rate.bar(labels, rates, color=[OURS if budget == 256 else PALE for budget in budgets])
    rate.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _title(rate, "A burst, by fairness budget", "messages/s")
    for key, color, name in (("worst", OTHER, "worst"), ("p99", OURS, "99 % are below")):
        waits = [figures[f"budget_{budget}_{key}_wait_ms"] for budget in budgets]
        wait.plot(labels, waits, "o-", color=color, label=name)
    wait.set_ylim(bottom=0)
    wait.legend(fontsize=7, frameon=False)
    _title(wait, "Meanwhile, the wait for a turn of the loop", "ms")
    for one in (rate, wait):
        one.set_xlabel("messages a turn (the default is 256)", fontsize=8)
    return figure


def _services(figures: Figures) -> Figure:
    names = {
        "credit": "zxmpp: its workers", "plain": "zxmpp: plain workers", "balancer": "bare balancer",
        "mdp_balancer": "balancer, Majordomo", "dramatiq": "dramatiq", "arq": "arq",
    }  # fmt: skip
    colors = [OURS, OURS, PALE, PALE, OTHER, OTHER]
    figure, axes = _axes(2)
    for workers, one in zip((1, 4), axes, strict=True):
        values = [figures[f"{name}_{workers}_rate"] for name in names]
        _write_values(one, one.barh(list(names.values()), values, color=colors))
        one.invert_yaxis()
        one.margins(x=0.2)
        _title(one, f"{workers} worker{'s' * (workers > 1)}, 100 requests under way", "requests/s")
    axes[1].set_yticklabels([])
    return figure


def _streams(figures: Figures) -> Figure:
    figure, axes = _axes(3, width=10)
    plugins, pending = (0, 13, 39), (0, 100, 1000)
    panels = (
        ("message_in", "A message in", plugins, "plugins loaded"),
        ("message_inout", "A message in, an answer out", plugins, "plugins loaded"),
        ("pending", "A message in, no plugins", pending, "IQs without an answer yet"),
    )
    for one, (case, title, counts, label) in zip(axes, panels, strict=True):
        for kind, color, name in (("ours", OURS, "zxmpp"), ("stock", OTHER, "slixmpp")):
            if case == "pending":
                keys = [f"{kind}_0_{f'pending_{n}' if n else 'message_in'}" for n in counts]
            else:
                keys = [f"{kind}_{n}_{case}" for n in counts]
            values = [figures[f"{key}_per_second"] for key in keys]
            one.plot([str(count) for count in counts], values, "o-", color=color, label=name)
            above = kind == "ours"
            for place, value in enumerate(values):
                one.annotate(
                    f"{value:,.0f}", (place, value), (0, 6 if above else -6), fontsize=7,
                    color=color, textcoords="offset points", ha="center",
                    va="bottom" if above else "top",
                )  # fmt: skip
        if case == "message_in":
            bare = figures["bare_message_in_per_second"]
            one.axhline(bare, color=PALE, linestyle="--", label="parser alone")
        one.set_yscale("log")
        one.set_ylim(500, 1_500_000)
        one.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        one.margins(x=0.12)
        one.set_xlabel(label, fontsize=8)
        _title(one, title, "stanzas per second of processor time")
    axes[0].legend(fontsize=7, frameon=False, loc="lower left")
    return figure


def _echo(figures: Figures) -> Figure | None:
    titles = {"prosody": "Prosody", "ejabberd": "ejabberd"}
    servers = [name for name in titles if f"{name}_ours_0_rate" in figures]
    if not servers:
        return None
    candidates = {
        "stock_0": ("slixmpp, no plugins", PALE), "stock_29": ("slixmpp, 29 plugins", OTHER),
        "ours_0": ("zxmpp, no plugins", "#8fb4dd"), "ours_29": ("zxmpp, 29 plugins", OURS),
    }  # fmt: skip
    figure, axes = _axes(2)
    panels = (
        ("cpu_us", "The component's processor time", "µs a message"),
        ("rate", "Echoes, 100 under way", "messages/s"),
    )
    width = 0.2
    for one, (field, title, unit) in zip(axes, panels, strict=True):
        for place, (name, (label, color)) in enumerate(candidates.items()):
            values = [figures[f"{server}_{name}_{field}"] for server in servers]
            at = [number + (place - 1.5) * width for number in range(len(servers))]
            _write_values(one, one.bar(at, values, width * 0.9, label=label, color=color))
        one.set_xticks(range(len(servers)), [titles[server] for server in servers])
        one.margins(y=0.12)
        _title(one, title, unit)
    axes[0].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2)
    return figure


#: The plots, by file name: whose result, and how.
PLOTS: dict[str, tuple[str, Callable[[Figures], Figure | None]]] = {
    "sockets": ("sockets", _sockets),
    "burst": ("burst", _burst),
    "services": ("services", _services),
    "streams": ("streams", _streams),
    "echo": ("streams", _echo),
}


def draw(results: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw what `results` have into PNG files in `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {result["benchmark"]: result["figures"] for result in results}
    drawn = []
    for name, (benchmark, plot) in PLOTS.items():
        figure = plot(by_name[benchmark]) if benchmark in by_name else None
        if figure is not None:
            path = folder / f"{name}.png"
            # Without a version in it, the same figures give the same file.
            figure.savefig(path, dpi=100, metadata={"Software": None})
            drawn.append(path)
    return drawn


def main() -> None:
    built = Path(__file__).parents[2] / "docs" / "_build" / "bench"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else built
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else folder
    results = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    for path in draw(results, out):
        print(path)


if __name__ == "__main__":
    main()
