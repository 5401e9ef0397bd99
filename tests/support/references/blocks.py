"""Strategies of blocks, and of text statistics, once more: one sample, plain Python, slow.

As ``references_history``: each is the rule of its source, written as a whole decode, and
``says(canvas)`` gives, for every place, the probability of each token.
"""

import math

from support.references.history import blocks_of, likeliest, surest


def sdar(says, canvas, mask, *, threshold, steps, block_length):
    canvas, calls = list(canvas), 0
    size = block_length or len(canvas)
    schedule = [size // steps] * steps
    for step in range(size % steps):
        schedule[step] += 1
    for block in blocks_of(canvas, mask, block_length):
        for asked in schedule:
            left = [i for i in block if canvas[i] == mask]
            if not left:
                break
            now, calls = says(canvas), calls + 1
            token, confidence = zip(*map(likeliest, now), strict=True)
            sure = [i for i in left if confidence[i] > threshold]
            for i in sure if len(sure) >= asked else surest(left, confidence, asked):
                canvas[i] = token[i]
    return canvas, calls


def parts_of(canvas, mask, outer, length):
    """The places of each block within a window that were open at first, and are any."""
    parts = [
        [i for i in range(low, min(low + length, outer.stop)) if canvas[i] == mask]
        for low in range(outer.start, outer.stop, length)
    ]
    return [part for part in parts if part]


def share(canvas, mask, part):
    return sum(canvas[i] != mask for i in part) / len(part)


def multi_block(says, canvas, mask, *, length, joins, forces, threshold, block_length):
    canvas, calls = list(canvas), 0
    for outer in blocks_of(canvas, mask, block_length):
        parts, appended = parts_of(canvas, mask, outer, length), 0
        while any(canvas[i] == mask for i in outer):
            if appended < len(parts) and (
                not appended or share(canvas, mask, parts[appended - 1]) >= joins
            ):
                appended += 1
            now, calls = says(canvas), calls + 1
            written = {}
            for number, part in enumerate(parts[:appended]):
                left = [i for i in part if canvas[i] == mask]
                sure = {i: likeliest(now[i])[1] for i in left}
                passing = [i for i in left if sure[i] > threshold]
                must = number == 0 or share(canvas, mask, parts[number - 1]) >= forces
                for i in passing or (surest(left, sure) if must else []):
                    written[i] = likeliest(now[i])[0]
            for i, token in written.items():
                canvas[i] = token
    return canvas, calls


def multi_block_entropy(says, canvas, mask, *, length, joins, threshold, block_length):
    canvas, calls = list(canvas), 0
    for outer in blocks_of(canvas, mask, block_length):
        parts, appended = parts_of(canvas, mask, outer, length), 0
        while any(canvas[i] == mask for i in outer):
            if appended < len(parts) and (
                not appended or share(canvas, mask, parts[appended - 1]) >= joins
            ):
                appended += 1
            now, calls = says(canvas), calls + 1
            left = [i for part in parts[:appended] for i in part if canvas[i] == mask]
            spread = {i: -sum(p * math.log(p) for p in now[i].values() if p) for i in left}
            settled = sorted(left, key=lambda i: (spread[i], i))
            written = settled[:1] + [i for i in settled[1:] if spread[i] <= threshold]
            first = next(part for part in parts if any(canvas[i] == mask for i in part))
            if not set(first) & set(written):
                written.append(next(i for i in settled if i in first))
            for i in written:
                canvas[i] = likeliest(now[i])[0]
    return canvas, calls


def pc_sampler(says, canvas, mask, *, counts, k, decay, ceiling, block_length):
    canvas, calls, total = list(canvas), 0, sum(counts.values())
    for block in blocks_of(canvas, mask, block_length):
        while left := [i for i in block if canvas[i] == mask]:
            now, calls = says(canvas), calls + 1
            token, confidence = zip(*map(likeliest, now), strict=True)
            score = {}
            for i in left:
                share = counts.get(token[i], 1) / total
                worth = min(ceiling, -confidence[i] * math.log(share + 1e-9))
                score[i] = math.exp(-decay * (i - block.start)) * worth
            for i in surest(left, score, k):
                canvas[i] = token[i]
    return canvas, calls


def renoise(
    says,
    canvas,
    mask,
    *,
    entropy_bound,
    steps,
    t_min,
    t_max,
    stability,
    confidence,
    block_length,
    uniform,
):
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        own = [i for i in block if canvas[i] == mask]
        shown, told, results = list(canvas), None, []
        for n in range(steps, 0, -1):
            now, drawn, calls = says(shown, told), uniform(len(canvas)), calls + 1
            temperature = t_min + (t_max - t_min) * n / steps
            told, spread = {}, {}
            for i in own:
                raised = {v: p ** (1 / temperature) for v, p in now[i].items()}
                total = sum(raised.values())
                told[i] = {v: p / total for v, p in raised.items()}
                spread[i] = -sum(p * math.log(p) for p in told[i].values() if p)
                canvas[i] = likeliest(now[i])[0]
            results.append([canvas[i] for i in own])
            before = results[-1 - stability : -1]
            stable = len(before) == stability and all(r == results[-1] for r in before)
            if stable and sum(spread.values()) / len(own) < confidence:
                break
            shown, spent = list(canvas), 0.0
            for i in sorted(own, key=lambda i: (spread[i], i)):
                if spent <= entropy_bound:
                    reached, shown[i] = drawn[i], None
                    for token, p in sorted(told[i].items()):
                        reached -= p
                        if reached < 0:
                            shown[i] = token
                            break
                else:
                    shown[i] = int(drawn[i] * mask)
                spent += spread[i]
    return canvas, calls
