"""report.html: what was kept and what was dropped, each with its picture and the reason. Source: ours."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from novakit.files import atomic_write_text
from novakit.training.preparation.listing import Dropped
from novakit.training.preparation.plan import Item

SHOWN = 500  # most clips shown of each kind: about 4 MB
_STYLE = (
    "body{font-family:sans-serif;margin:2rem auto;max-width:76rem;color:#111827}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:1rem}"
    "figure{margin:0;padding:.5rem;border:1px solid #ddd;overflow-wrap:anywhere}img{width:100%}"
    "figcaption{font-size:.85rem}b{color:#a11}td,th{padding:.2rem .8rem;text-align:left}"
)


def write_report(folder: Path, kept: Sequence[Item], dropped: Sequence[Dropped], facts: dict[str, str]) -> Path:
    """Write FOLDER/report.html; pictures are inside the file.

    Args:
        folder: the cache.
        kept: clips that were encoded.
        dropped: files and clips that were not.
        facts: title -> value, for the table on top.
    """
    reasons = Counter(entry.reason.partition(":")[0] for entry in dropped).most_common()
    rows = {**facts, "kept": len(kept), "dropped": len(dropped)} | {f"- {name}": n for name, n in reasons[:12]}
    table = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(n))}</td></tr>" for name, n in rows.items())
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>novakit prepare</title><style>{_STYLE}</style>",
        f"<h1>novakit prepare</h1><table>{table}</table>",
        _section("Dropped", len(dropped), (_figure(e.thumbnail, e.name, e.start, e.reason) for e in dropped[:SHOWN])),
        _section("Kept", len(kept), map(_kept, kept[:SHOWN])),
    ]
    return atomic_write_text(folder / "report.html", "\n".join(parts) + "</html>\n")


def _section(title: str, count: int, figures: Iterable[str]) -> str:
    more = f", the first {SHOWN} of them" if count > SHOWN else ""
    return f"<h2>{title}: {count}{more}</h2><main>{''.join(figures)}</main>"


def _kept(item: Item) -> str:
    about = f"motion {item.candidate.motion:.1f}, contrast {item.candidate.contrast:.0f}"
    return _figure(item.candidate.thumbnail, item.video.name, item.candidate.start, about, bad=False)


def _figure(thumbnail: str, name: str, start: int | None, words: str, bad: bool = True) -> str:
    picture = f'<img loading=lazy alt="" src="data:image/jpeg;base64,{thumbnail}">' if thumbnail else ""
    place = html.escape(name) + ("" if start is None else f", frame {start}")
    said = f"<b>{html.escape(words)}</b>" if bad else html.escape(words)
    return f"<figure>{picture}<figcaption>{place}<br>{said}</figcaption></figure>\n"
