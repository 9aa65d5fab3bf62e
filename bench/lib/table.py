# SPDX-License-Identifier: MIT
"""A row, the median of its rounds, the table for people and the file for programs. Nothing here measures."""
import json
import os
import statistics
import textwrap

WIDTH = 100
COLUMNS = (("what", 36), ("ours", 10), ("peer", 10), ("ratio", 7), ("limit", 10), ("goal", 17), ("", 4))


class Row:
    """One line of the table.

    ours, peer, limit: figures, or lists of them, one a round, whose median counts. more: whether
    more is better. The ratio says how many times better ours is, whichever way that is. goal: its
    text; met: a function of the row, asked once ours and what it compares with are there."""

    def __init__(self, name, unit="", ours=None, peer=None, limit=None, more=True, goal="", met=None, note=""):
        self.name, self.unit, self.more, self.goal, self.note = name, unit, more, goal, note
        self.rounds = {"ours": rounds(ours), "peer": rounds(peer), "limit": rounds(limit)}
        self.ours, self.peer, self.limit = (median(self.rounds[side]) for side in ("ours", "peer", "limit"))
        self.ratio = ratio(self.ours, self.peer, more)
        self.met = None
        if met is not None and self.ours is not None:
            try:
                self.met = bool(met(self))
            except TypeError:  # it compares with a figure that there is none of
                self.met = None

    def as_dict(self):
        return {"name": self.name, "unit": self.unit, "ours": self.ours, "peer": self.peer, "ratio": self.ratio,
                "limit": self.limit, "more_is_better": self.more, "goal": self.goal, "met": self.met,
                "note": self.note, "rounds": self.rounds}


def rounds(value):
    if value is None:
        return []
    return [v for v in (value if isinstance(value, (list, tuple)) else [value]) if v is not None]


def median(values):
    return statistics.median(values) if values else None


def ratio(ours, peer, more=True):
    """How many times better ours is; nothing where there is nothing to divide."""
    if ours is None or peer is None:
        return None
    above, below = (ours, peer) if more else (peer, ours)
    return above / below if below else None


def figure(value, unit=""):
    """A figure as people read it: three digits that matter, thousands apart."""
    if value is None:
        return "-"
    size = abs(value)
    if value == int(value) or size >= 100:
        text = f"{value:,.0f}"
    elif size >= 10:
        text = f"{value:.1f}"
    elif size >= 1:
        text = f"{value:.2f}"
    else:
        text = f"{value:.3f}"
    return f"{text} {unit}".strip()


def cells(row):
    verdict = {True: "yes", False: "NO", None: ""}[row.met]
    return (f"{row.name}, {row.unit}" if row.unit else row.name, figure(row.ours), figure(row.peer),
            "-" if row.ratio is None else f"{row.ratio:.2f}x" if row.ratio < 10 else f"{row.ratio:.0f}x",
            figure(row.limit), row.goal, verdict)


def render(rows):
    """The table; no line is longer than WIDTH. Notes stand below, each with its row's number."""
    lines, notes = [], []

    def line(values):
        parts = []
        for (title, width), value in zip(COLUMNS, values):
            left = title in ("what", "goal", "")
            parts.append(f"{value:<{width}.{width}}" if left else f"{value:>{width}.{width}}")
        lines.append(" ".join(parts).rstrip())

    line([("met" if title == "" else title) for title, _ in COLUMNS])
    lines.append("-" * WIDTH)
    for row in rows:
        values = list(cells(row))
        mark = ""
        if row.note:
            notes.append(row.note)
            mark = f" [{len(notes)}]"
        room = COLUMNS[0][1]
        names = textwrap.wrap(values[0] + mark, room) or [""]
        goals = textwrap.wrap(values[5], COLUMNS[5][1]) or [""]
        values[0], values[5] = names[0], goals[0]
        line(values)
        for more in range(1, max(len(names), len(goals))):
            line(["  " + names[more] if more < len(names) else "", "", "", "", "",
                  goals[more] if more < len(goals) else "", ""])
    if notes:
        lines.append("")
    for number, note in enumerate(notes, 1):
        lines += textwrap.wrap(note, WIDTH, initial_indent=f"[{number}] ", subsequent_indent="    ")
    return "\n".join(lines)


def write_json(path, head, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as out:
        json.dump({**head, "rows": [row.as_dict() for row in rows]}, out, indent=1)
        out.write("\n")
    os.replace(path + ".new", path)
