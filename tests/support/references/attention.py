"""Strategies that ask for more than statistics, once more: one sample, plain Python, slow.

Each is the rule of its source, written as a whole decode.  ``says(canvas)`` gives, for every
place, the probability of each token; ``gives(canvas)`` what the model tells beside that.
Nothing is shared with the strategies themselves.
"""

import math
from dataclasses import dataclass

from support.references.history import blocks_of, likeliest, surest


@dataclass
class Seen:
    """The inputs of a rule in one call: by place, and the open places of the block."""

    left: list
    initial: int
    canvas: list
    lines: list
    token: tuple
    confidence: tuple
    given: list | None


def decode(choose, canvas, mask, block_length, *, says, gives):
    """Write what ``choose`` picks, call by call, of what is open in each block."""
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        initial = sum(canvas[i] == mask for i in block)
        while left := [i for i in block if canvas[i] == mask]:
            lines, calls = says(canvas), calls + 1
            told = zip(*map(likeliest, lines), strict=True)
            seen = Seen(left, initial, list(canvas), lines, *told, gives(canvas))
            for i in choose(seen):
                canvas[i] = seen.token[i]
    return canvas, calls


def dapd(says, canvas, mask, *, edge, tail, tail_below, block_length, gives):
    def choose(seen):
        left, confidence, a = seen.left, seen.confidence, seen.given
        if len(left) < tail_below * seen.initial:
            return {*surest(left, confidence), *(i for i in left if confidence[i] > tail)}
        s = {(i, j): (a[i][j] + a[j][i]) / 2 for i in left for j in left if i != j}
        key = {i: confidence[i] * sum(s[i, j] for j in left if j != i) for i in left}
        taken = []
        for i in surest(left, key, len(left)):
            if confidence[i] == 1 or all(s[i, j] <= edge for j in taken):
                taken.append(i)
        return taken

    return decode(choose, canvas, mask, block_length, says=says, gives=gives)


def dawn(says, canvas, mask, *, threshold, induce, low, edge, sink, block_length, gives):
    def choose(seen):
        left, confidence, a = seen.left, seen.confidence, seen.given
        everywhere = range(len(seen.canvas))
        sinks = {j for j in everywhere if sum(row[j] for row in a) / len(a) > sink}

        def attends(i, j):
            return i != j and j not in sinks and a[i][j] >= edge

        anchors = [j for j in everywhere if seen.canvas[j] != mask and confidence[j] >= threshold]
        sure = {i for i in left if confidence[i] >= threshold}
        induced = {
            i for i in left if confidence[i] >= induce and any(attends(i, j) for j in anchors)
        }

        rest = []
        for i in surest(left, confidence, len(left)):
            if i in sure | induced or confidence[i] < low:
                continue
            kept_away = any(attends(i, j) for j in sure & induced)
            if not kept_away and not any(attends(i, j) or attends(j, i) for j in rest):
                rest.append(i)
        return {*sure, *induced, *rest} or surest(left, confidence)

    return decode(choose, canvas, mask, block_length, says=says, gives=gives)


def mean_field(says, canvas, mask, *, threshold, rounds, candidates, block_length):
    def choose(seen):
        left, lines = seen.left, seen.lines
        ranked = {i: sorted(lines[i], key=lambda v, i=i: (-lines[i][v], v)) for i in left}
        union = sorted({v for i in left for v in ranked[i][:candidates]})
        p = {i: [lines[i][v] for v in union] for i in left}
        p = {i: [*each, max(0.0, 1 - sum(each))] for i, each in p.items()}

        def entropy(each):
            return -sum(x * math.log(x) for x in each if x > 0)

        def alike(i, j):
            middle = [(x + y) / 2 for x, y in zip(p[i], p[j], strict=True)]
            return 1 - (entropy(middle) - (entropy(p[i]) + entropy(p[j])) / 2) / math.log(2)

        u = {i: math.log(lines[i][ranked[i][0]] / lines[i][ranked[i][1]]) for i in left}
        q = {i: 1 / (1 + math.exp(-u[i])) for i in left}
        for _ in range(rounds):
            held = {i: sum(alike(i, j) * q[j] for j in left if j != i) for i in left}
            q = {i: 1 / (1 + math.exp(held[i] - u[i])) for i in left}
        return [i for i in left if q[i] > threshold] or surest(left, q)

    return decode(choose, canvas, mask, block_length, says=says, gives=lambda _: None)


def learn2pd(says, canvas, mask, *, threshold, block_length, gives):
    def choose(seen):
        left, final = seen.left, seen.given
        return {*surest(left, seen.confidence), *(i for i in left if final[i] > threshold)}

    return decode(choose, canvas, mask, block_length, says=says, gives=gives)


def demask(says, canvas, mask, *, budget, block_length, gives):
    def choose(seen):
        moves, taken = seen.given, []
        for i in surest(seen.left, seen.confidence, len(seen.left)):
            pairs = [(x, y) for n, x in enumerate([*taken, i]) for y in [*taken, i][n + 1 :]]
            if sum(moves[x][y] for x, y in pairs) <= budget:
                taken.append(i)
        return taken

    return decode(choose, canvas, mask, block_length, says=says, gives=gives)
