"""Strategies that send several rows, or make several calls in a step: plain Python, slow.

Each is a whole decode of one sample.  ``says(canvas)`` gives, for every place, the probability
of each token, and ``doubt(canvas)`` the entropy.  All return the canvas, the calls and the rows.
Nothing is shared with the strategies themselves.
"""

import math
from statistics import fmean

from support.references.history import blocks_of, likeliest, surest


def written(canvas, tokens):
    """The canvas with some tokens more."""
    return [tokens.get(i, token) for i, token in enumerate(canvas)]


def one_by_one(says, canvas, mask, *, block_length):
    """The canvas before and after every token."""
    states = [list(canvas)]
    for block in blocks_of(canvas, mask, block_length):
        while left := [i for i in block if states[-1][i] == mask]:
            said = [likeliest(line) for line in says(states[-1])]
            (i,) = surest(left, [c for _, c in said])
            states.append(written(states[-1], {i: said[i][0]}))
    return states


def free_dave(says, canvas, mask, *, drafts, block_length):
    canvas, calls, rows = list(canvas), 0, 0
    for block in blocks_of(canvas, mask, block_length):

        def left(state, block=block):
            return {i for i in block if state[i] == mask}

        def following(state, left=left):
            """All states that one look at ``state`` foresees, a token at a time."""
            said = [likeliest(line) for line in says(state)]
            order = surest(left(state), [c for _, c in said], len(state))
            return [
                written(state, {i: said[i][0] for i in order[: count + 1]})
                for count in range(len(order))
            ]

        foreseen = []
        while left(canvas):
            drafted = [canvas, *(state for state in foreseen if left(state))][:drafts]
            targets = [following(state)[0] for state in drafted]
            calls, rows, best = calls + 1, rows + len(drafted), 0
            while agreeing := [
                j
                for j in range(best + 1, len(drafted))
                if all(drafted[j][i] in (mask, targets[best][i]) for i in block)
            ]:
                best = max(agreeing)
            foreseen = following(drafted[best])[1:]
            canvas = targets[best]
    return canvas, calls, rows


def lopa(says, canvas, mask, *, threshold, branches, score, lowest, block_length, doubt):
    canvas, calls, rows = list(canvas), 0, 0
    for block in blocks_of(canvas, mask, block_length):
        tried = [canvas]
        while True:
            calls, rows, scores = calls + 1, rows + len(tried), []
            for state in tried:
                open_ = [i for i in block if state[i] == mask]
                certainty = {i: likeliest(line)[1] for i, line in enumerate(says(state))}
                if score == "entropy":
                    certainty = {i: -h for i, h in enumerate(doubt(state))}
                worst = sorted(certainty[i] for i in open_)
                scores.append(fmean(worst[: max(1, math.floor(lowest * len(worst)))]))
            canvas = tried[scores.index(max(scores))]
            left = [i for i in block if canvas[i] == mask]
            said = [likeliest(line) for line in says(canvas)]
            confidence = [c for _, c in said]
            sure = [i for i in left if confidence[i] >= threshold] or surest(left, confidence)
            canvas = written(canvas, {i: said[i][0] for i in sure})
            left = [i for i in left if canvas[i] == mask]
            if not left:
                break
            tried = [canvas]
            if len(left) > 1:
                tried += [
                    written(canvas, {i: said[i][0]}) for i in surest(left, confidence, branches)
                ]
    return canvas, calls, rows


def punt(says, canvas, mask, *, threshold, block_length):
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        while left := [i for i in block if canvas[i] == mask]:
            before, calls = says(canvas), calls + 1
            said = [likeliest(line) for line in before]
            groups = [surest(left, [c for _, c in said], len(left))]
            while any(len(group) > 1 for group in groups):
                shown, hidden = [], []
                for group in groups:
                    middle = len(group) - len(group) // 2
                    shown.append(group[:middle])
                    hidden.append(group[middle:])
                now = says(written(canvas, {i: said[i][0] for group in shown for i in group}))
                calls += 1
                for group in hidden:
                    for i in list(group):
                        moved = sum(abs(now[i][v] - before[i][v]) for v in before[i]) / 2
                        if moved > threshold:
                            group.remove(i)
                groups = [*shown, *hidden]
            canvas = written(canvas, {i: said[i][0] for group in groups for i in group})
    return canvas, calls, calls


def info_gain(
    says,
    canvas,
    mask,
    *,
    candidates,
    threshold,
    position_temperature,
    objective,
    block_length,
    doubt,
    uniform,
):
    canvas, calls, rows = list(canvas), 0, 0

    def drawn(left, confidence):
        weights = [math.exp(confidence[i] / position_temperature) for i in left]
        for number in uniform(candidates - 1):
            behind = number * sum(weights)
            place = 0
            while place < len(left) - 1 and behind >= weights[place]:
                behind -= weights[place]
                place += 1
            yield left[place]

    for block in blocks_of(canvas, mask, block_length):
        calls, rows = calls + 1, rows + 1
        while left := [i for i in block if canvas[i] == mask]:
            said = [likeliest(line) for line in says(canvas)]
            confidence = [c for _, c in said]
            if all(confidence[i] >= threshold for i in left):
                uniform(candidates - 1)  # a step without a call has its numbers, too
                uniform(candidates - 1)
                canvas = written(canvas, {i: said[i][0] for i in left})
                break
            tried, own = [], doubt(canvas)
            for i in [*surest(left, confidence), *drawn(left, confidence)]:
                if i not in tried:
                    tried.append(i)
            calls, rows, gains = calls + 1, rows + len(tried), []
            for i in tried:
                after = written(canvas, {i: said[i][0]})
                rest = [h for j, h in enumerate(doubt(after)) if after[j] == mask]
                gains.append(-(fmean(rest) if rest else 0) - own[i] * (objective == "info_gain"))
            best = tried[gains.index(max(gains))]
            canvas = written(canvas, {best: said[best][0]})
        else:
            uniform(candidates - 1)
    return canvas, calls, rows
