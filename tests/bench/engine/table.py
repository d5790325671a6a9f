# SPDX-License-Identifier: Apache-2.0
"""Tables of medians, ratios and goals, as text and as Markdown."""
import statistics


def short(value, unit):
    """Three significant digits."""
    if unit == "ops/s":
        for bound, divide, suffix in ((1e6, 1e6, "M"), (1e3, 1e3, "k")):
            if value >= bound:
                value, unit = value / divide, suffix
                break
        else:
            unit = ""
    else:
        unit = ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return "%.*f%s" % (digits, value, unit)


def median(values):
    return statistics.median(values) if values else None


def cell(values, unit):
    if not values:
        return "-"
    text = short(median(values), unit)
    if len(values) > 1:
        text += " (%s..%s)" % (short(min(values), unit), short(max(values), unit))
    return text


class Table:
    """The results of a section: engine -> list of metrics, one per run. The first engine is compared with the others."""

    def __init__(self, section, results, has_assertions):
        self.section = section
        self.results = {engine: runs for engine, runs in results.items() if runs}
        self.own = next(iter(self.results), None)
        self.problems = section.problems(self.results)
        void = section.goals_void(self.results)
        self.verdicts = []  # (label, text, True / False / None when its conditions were not met)
        self.lines = []
        for row in section.rows(has_assertions):
            values = {engine: [run[row.key] for run in runs if row.key in run] for engine, runs in self.results.items()}
            if any(values.values()):
                self.lines.append(self.line(row, values, void))

    def peers(self):
        return [engine for engine in self.results if engine != self.own]

    def line(self, row, values, void):
        own = median(values[self.own])
        ratios = {None: own}
        for peer in self.peers():
            other = median(values[peer])
            ratios[peer] = own / other if own is not None and other else None
        goals = []
        for peer, relation, bound in row.goals if self.own == "kvring" else ():
            got = ratios.get(peer)
            if got is None:
                continue
            met = None if void else got >= bound if relation == ">=" else got <= bound
            word = {True: "MET", False: "MISSED", None: "NOT VALID"}[met]
            goals.append("%s%s %.2f: %s" % (peer + " " if peer else "", relation, bound, word))
            self.verdicts.append(("%s: %s" % (self.section.name, row.label), "%.2f, goal %s" % (got, goals[-1]), met))
        return ([row.label, row.unit] + [cell(values[engine], row.unit) for engine in self.results] +
                ["-" if ratios[peer] is None else "%.2f" % ratios[peer] for peer in self.peers()] + ["; ".join(goals)])

    def header(self):
        return ["", "unit"] + list(self.results) + ["x " + peer for peer in self.peers()] + ["goal"]

    def heading(self):
        runs = max((len(runs) for runs in self.results.values()), default=0)
        return "%s: %s (%s)" % (self.section.name, self.section.title,
                                "1 run" if runs == 1 else "median of %d runs, min..max" % runs)

    def text(self):
        rows = [self.header()] + self.lines
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        out = [self.heading()]
        for row in rows:
            out.append("  ".join(text.ljust(width) if i in (0, 1, len(row) - 1) else text.rjust(width)
                                 for i, (text, width) in enumerate(zip(row, widths))).rstrip())
        return "\n".join(out + ["  " + note for note in self.section.notes] + ["  ! " + it for it in self.problems])

    def markdown(self):
        out = ["### " + self.heading(), ""]
        for number, row in enumerate([self.header()] + self.lines):
            out.append("| " + " | ".join(row) + " |")
            if number == 0:
                out.append("|" + "---|" * len(row))
        out += [""] + list(self.section.notes) + ["**%s**" % it for it in self.problems]
        return "\n".join(out) + "\n"


def summary(tables):
    verdicts = [verdict for table in tables for verdict in table.verdicts]
    out = ["goals met: %d of %d" % (sum(met is True for _, _, met in verdicts), len(verdicts))]
    out += ["  %s: %s" % (label, text) for label, text, met in verdicts if met is not True]
    return "\n".join(out)
