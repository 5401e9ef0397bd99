"""The pivot strategies once more: one sample, plain Python, slow; at temperature 0.

``says(canvas)`` gives, for every place, the probability of each token.  Nothing is shared with
the strategies themselves.
"""

import math

from support.references.history import blocks_of, likeliest


def entropy(line):
    return -sum(p * math.log(p) for p in line.values() if p > 0)


def is_certain(line, certain, confidence):
    if confidence is not None:
        return likeliest(line)[1] >= confidence
    return entropy(line) <= certain


def is_plausible(line, plausible):
    return likeliest(line)[1] >= plausible * math.exp(-entropy(line))


def most_uncertain(lines, places):
    return sorted(places, key=lambda i: (-entropy(lines[i]), i))


def parted(lines, places, certain, confidence, plausible):
    """The certain places, and those that wait, the most uncertain first."""
    good = [i for i in places if is_plausible(lines[i], plausible)]
    sure = [i for i in good if is_certain(lines[i], certain, confidence)]
    return sure, most_uncertain(lines, [i for i in good if i not in sure])


def surest(lines, places):
    return min(places, key=lambda i: (-likeliest(lines[i])[1], i))


def pivot(says, canvas, mask, *, certain, confidence, plausible, block_length):
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        while left := [i for i in block if canvas[i] == mask]:
            lines, calls = says(canvas), calls + 1
            sure, waiting = parted(lines, left, certain, confidence, plausible)
            for i in [*sure, *waiting[:1]] or [surest(lines, left)]:
                canvas[i] = likeliest(lines[i])[0]
    return canvas, calls


def pivot_drafts(
    says, canvas, mask, *, certain, confidence, plausible, drafts, tolerance, block_length
):
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        drafted = []
        while [i for i in block if canvas[i] == mask]:
            lines, calls = says(canvas), calls + 1
            for i, token in drafted:
                if lines[i][token] < (1 - tolerance) * max(lines[i].values()):
                    break
                canvas[i] = token
                lines = says(canvas)
            left, drafted = [i for i in block if canvas[i] == mask], []
            if not left:
                break
            sure, waiting = parted(lines, left, certain, confidence, plausible)
            written = [*sure, *waiting[:1]] or [surest(lines, left)]
            for i in written:
                canvas[i] = likeliest(lines[i])[0]
            rest = [i for i in waiting if i not in written]
            drafted = [(i, likeliest(lines[i])[0]) for i in rest[:drafts]]
    return canvas, calls


def pivot_gain(
    says, canvas, mask, *, certain, confidence, plausible, candidates, moved, block_length
):
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        tried, before = [], None
        while left := [i for i in block if canvas[i] == mask]:
            calls += 1
            alone = len(tried) < 2
            if tried:
                seen = [says([*canvas[:i], token, *canvas[i + 1 :]]) for i, token in tried]

                def fall(place, i, seen=seen, before=before):
                    return entropy(before[i]) - entropy(seen[place][i])

                gain = [
                    sum(fall(place, j) for j in left if j != i)
                    for place, (i, _) in enumerate(tried)
                ]
                order = sorted(range(len(tried)), key=lambda place: -gain[place])
                lines, together = seen[order[0]], []
                for place in order if moved is not None else order[:1]:
                    i = tried[place][0]
                    if all(
                        abs(fall(other, i)) <= moved and abs(fall(place, tried[other][0])) <= moved
                        for other in together
                    ):
                        together.append(place)
                sure, _ = parted(lines, left, certain, confidence, plausible)
                filled = {*sure, *(tried[place][0] for place in together)} >= set(left)
                if len(together) < 3 and not filled:
                    together = order[:1]
                for place in together:
                    canvas[tried[place][0]] = tried[place][1]
                alone = len(together) < 2
            else:
                lines, alone = says(canvas), True
            left = [i for i in left if canvas[i] == mask]
            sure, waiting = parted(lines, left, certain, confidence, plausible)
            wrote = bool(tried or sure)
            for i in sure:
                canvas[i] = likeliest(lines[i])[0]
            rest, tried = [i for i in left if i not in sure], []
            if alone and len(rest) == 1:
                canvas[rest[0]] = likeliest(lines[rest[0]])[0]
            elif alone:
                tried = [(i, likeliest(lines[i])[0]) for i in waiting[:candidates]]
                if not tried and not wrote and rest:
                    i = surest(lines, rest)
                    canvas[i] = likeliest(lines[i])[0]
            before = lines
    return canvas, calls
