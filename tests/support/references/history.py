"""Strategies that remember, revise or edit, once more: one sample, plain Python, slow.

Each is the rule of its source, written as a whole decode: a loop over blocks and calls with
plain numbers.  ``says(canvas)`` gives, for every place, the probability of each token.
Nothing is shared with the strategies themselves.
"""

import math
import statistics
from collections import Counter, deque
from fractions import Fraction


def likeliest(line):
    """The likeliest token, the lowest on ties, and its probability."""
    return max(line.items(), key=lambda each: (each[1], -each[0]))


def blocks_of(canvas, mask, length):
    """The blocks with an open place, and how many each has at the start."""
    length = length or len(canvas)
    for low in range(0, len(canvas), length):
        places = range(low, min(low + length, len(canvas)))
        if any(canvas[i] == mask for i in places):
            yield places


def surest(places, confidence, count=1):
    return sorted(places, key=lambda i: (-confidence[i], i))[:count]


def klass(says, canvas, mask, *, threshold, divergence, history, block_length, dream, memory):
    canvas, calls = list(canvas), 0
    before, log = None, [deque([0.0] * history, maxlen=history) for _ in canvas]
    for block in blocks_of(canvas, mask, block_length):
        if memory == "block":
            before, log = None, [deque([0.0] * history, maxlen=history) for _ in canvas]
        for step in range(len(block)):
            left = [i for i in block if canvas[i] == mask]
            if not left:
                break
            now, calls = says(canvas), calls + 1
            before = before or [dict.fromkeys(line, 0.0) for line in now]
            for i, line in enumerate(now):
                log[i].append(
                    sum(
                        p * (math.log(p + 1e-12) - math.log(before[i][v] + 1e-12))
                        for v, p in line.items()
                    )
                )
            before = now
            token, confidence = zip(*map(likeliest, now), strict=True)
            calm = [all(d < divergence for d in log[i]) for i in range(len(canvas))]
            if dream:
                ready = [i for i in left if calm[i] and confidence[i] >= threshold]
            elif step >= history - 1:
                ready = [i for i in left if calm[i] and confidence[i] > threshold]
            else:
                ready = []
            for i in ready or surest(left, confidence):
                canvas[i] = token[i]
    return canvas, calls


def persistence(says, canvas, mask, *, history, threshold, block_length):
    canvas, made, told = list(canvas), 0, [[] for _ in canvas]
    for block in blocks_of(canvas, mask, block_length):
        while left := [i for i in block if canvas[i] == mask]:
            now, made = says(canvas), made + 1
            token, confidence = zip(*map(likeliest, now), strict=True)
            for i in left:
                told[i].append(token[i])
            same = [
                i for i in left if len(told[i]) >= history and len(set(told[i][-history:])) == 1
            ]
            passing = [i for i in same if confidence[i] >= threshold]
            for i in {*passing, *surest(left, confidence)}:
                canvas[i] = token[i]
    return canvas, made


def credit(says, canvas, mask, *, strength, exponent, decay, threshold, block_length):
    canvas, calls = list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        account = None
        while left := [i for i in block if canvas[i] == mask]:
            now, calls = says(canvas), calls + 1
            account = account or [dict.fromkeys(line, 0.0) for line in now]
            account = [{v: decay * c for v, c in line.items()} for line in account]
            token, confidence = {}, {}
            for i in left:
                first, certainty = likeliest(now[i])
                account[i][first] += certainty**exponent
                raised = {v: p * (1 + account[i][v]) ** strength for v, p in now[i].items()}
                token[i], most = likeliest(raised)
                confidence[i] = most / sum(raised.values())
            passing = [i for i in left if confidence[i] >= threshold]
            for i in passing or surest(left, confidence):
                canvas[i] = token[i]
    return canvas, calls


def slow_fast(says, canvas, mask, *, exploration, reach, window, spread, threshold, block_length):
    canvas, calls = list(canvas), 0

    def commit(low, high, shown=None):
        nonlocal calls
        calls += 1
        said = [likeliest(line) for line in says(canvas[:shown])]
        left = [i for i in range(low, high) if canvas[i] == mask]
        confidence = {i: said[i][1] for i in left}
        sure = [i for i in left if confidence[i] >= threshold]
        for i in sure if len(sure) >= 2 else surest(left, confidence):
            canvas[i] = said[i][0]
        return confidence

    for block in blocks_of(canvas, mask, block_length):
        low, high, last = block.start, block.stop, 0
        while any(canvas[i] == mask for i in block):
            estimates, end = deque(maxlen=window), None
            for call in range(exploration):
                confidence = commit(low + last, high)
                if end is not None:
                    continue
                far = [i - low for i, c in confidence.items() if c >= reach]
                increment = 1 + max(far) - last if far else 1
                estimates.append(min(max(last + increment, 1), high - low))
                if len(estimates) == window:
                    if statistics.pstdev(estimates) < spread:
                        end = estimates[-1]
                    elif call == exploration - 1:
                        end = int(statistics.fmean(estimates))
            end = int(statistics.fmean(estimates)) if end is None else end
            shown = None
            while any(canvas[i] == mask for i in range(low + last, low + end)):
                commit(low + last, low + end, shown)
                shown = low + end
            last = end
    return canvas, calls


def told(says, canvas, places):
    """The likeliest token at some places, and its probability."""
    lines = says(canvas)
    return {i: likeliest(lines[i]) for i in places}


def rcr(says, canvas, mask, *, k, block_length):
    start, canvas, calls, running = canvas, list(canvas), 0, {}
    for block in blocks_of(canvas, mask, block_length):
        own = [i for i in block if start[i] == mask]
        seen = [*running, *own]
        steps = math.ceil(len(own) / k)
        kept = [math.ceil(Fraction(len(own) * i, steps)) for i in range(steps + 1)]
        for step in range(steps):
            said, calls = told(says, canvas, seen), calls + 1
            for i in seen:
                if canvas[i] == mask:
                    canvas[i], running[i] = said[i]
            for i in sorted(seen, key=lambda i: (running[i], i))[: len(own) - kept[step + 1]]:
                canvas[i] = mask
    return canvas, calls


def saber(says, canvas, mask, *, least, block_length):
    start, canvas, calls, commit = canvas, list(canvas), 0, {}
    before = dict.fromkeys(range(len(canvas)), 0)
    for block in blocks_of(canvas, mask, block_length):
        own = [i for i in range(block.stop) if start[i] == mask]
        while left := [i for i in own if canvas[i] == mask]:
            said, calls = told(says, canvas, own), calls + 1
            confidence = {i: c for i, (_, c) in said.items()}
            bar = statistics.fmean(commit.values()) if commit else 1
            chosen = [i for i in left if confidence[i] > bar]
            if len(chosen) < least:
                chosen = surest(left, confidence, least)
            for i in chosen:
                canvas[i], commit[i] = said[i]
            if any(canvas[i] == mask for i in own):
                count = min(max(least // 2, math.ceil(len(chosen) / 8)), len(chosen) - 1)
                gain = {i: confidence[i] - before.get(i, -math.inf) for i in own}
                held = [i for i in own if canvas[i] != mask]
                for i in sorted(held, key=lambda i: (gain[i], i))[:count]:
                    canvas[i] = mask
            before = confidence
    return canvas, calls


def wino(says, canvas, mask, *, draft, verify, block_length):
    start, canvas, calls = canvas, list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        low, last, length = block.start, 30, len(canvas)
        while left := [i for i in block if canvas[i] == mask]:
            shown = canvas + [mask] * len(block)
            places = [*range(length), *block]
            # The canvas sees itself; the shadow sees all but its own original.
            sees = [
                [j < length or i >= length for j in range(len(shown))] for i in range(len(shown))
            ]
            for i in block:
                sees[length + i - low][i] = False
            lines, calls = says(shown, places, sees), calls + 1
            said = [likeliest(line) for line in lines]
            confidence = [c for _, c in said]
            most = min(max(int(0.7 * len(left)), 5), 20)
            passing = [i for i in left if confidence[i] > draft]
            chosen = surest(passing, confidence, most) or surest(left, confidence)
            held = [i for i in block if start[i] == mask and canvas[i] != mask]
            if len(chosen) > 1:
                likely = {i: lines[length + i - low][canvas[i]] for i in held}
                doubted = sorted((i for i in held if likely[i] < verify), key=lambda i: likely[i])
                for i in doubted[: last - 1] if len(doubted) >= last else doubted:
                    canvas[i] = mask
            for i in chosen:
                canvas[i] = said[i][0]
            last = len(chosen)
    return canvas, calls


def joint_threshold(says, canvas, mask, *, threshold, edit, after, block_length):
    start, canvas, calls = canvas, list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        own, looks = [i for i in block if start[i] == mask], 0
        while True:
            left = [i for i in own if canvas[i] == mask]
            looks += not left
            if looks > after:
                break
            said, calls = told(says, canvas, own), calls + 1
            confidence = {i: c for i, (_, c) in said.items()}
            edits = [i for i in own if canvas[i] not in (mask, said[i][0]) and confidence[i] > edit]
            filled = [i for i in left if confidence[i] > threshold] or surest(left, confidence)
            for i in [*filled, *edits]:
                canvas[i] = said[i][0]
            if not left and not edits:
                break
    return canvas, calls


def t2m(says, canvas, mask, *, threshold, trigger, limit, block_length):
    limit = {"low_prob": 0.5, "other": 0.9, "drop": 0.3}[trigger] if limit is None else limit
    start, canvas, calls = canvas, list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        own, looks, times, before = [i for i in block if start[i] == mask], 0, Counter(), None
        while True:
            left = [i for i in own if canvas[i] == mask]
            looks += not left
            if looks > 16:
                break
            lines, calls = says(canvas), calls + 1
            said = {i: likeliest(lines[i]) for i in own}
            confidence = {i: c for i, (_, c) in said.items()}
            held = {i: lines[i][canvas[i]] for i in own if canvas[i] != mask}
            worst = {}
            for i, p in held.items():
                if trigger == "low_prob" and p < limit:
                    worst[i] = p
                if trigger == "other" and said[i][0] != canvas[i] and confidence[i] > limit:
                    worst[i] = -confidence[i]
                if trigger == "drop" and before and before[i] - p > limit:
                    worst[i] = p - before[i]
            doubted = sorted((i for i in worst if times[i] < 5), key=lambda i: (worst[i], i))[
                : max(1, len(held) // 4)
            ]
            if not left and not doubted:
                break
            filled = [i for i in left if confidence[i] > threshold] or surest(left, confidence)
            before = held | {i: confidence[i] for i in filled}
            if not held:
                times, before = Counter(), None
            for i in filled:
                canvas[i] = said[i][0]
            for i in doubted:
                canvas[i] = mask
                times[i] += 1
    return canvas, calls


def remdm_llada(says, canvas, mask, *, k, reopened, revisions, block_length):
    start, canvas, calls = canvas, list(canvas), 0
    for block in blocks_of(canvas, mask, block_length):
        own, commit = [i for i in block if start[i] == mask], {}
        steps = math.ceil(len(own) / k)
        first = max(1, math.floor(7 * steps / 8))
        for kind in [k] * first + [-1] * revisions + [k] * (steps - first):
            if kind < 0:
                held = [i for i in own if canvas[i] != mask]
                for i in sorted(held, key=lambda i: (commit[i], i))[:reopened]:
                    canvas[i] = mask
            said, calls = told(says, canvas, own), calls + 1
            confidence = {i: c for i, (_, c) in said.items()}
            left = [i for i in own if canvas[i] == mask]
            for i in surest(left, confidence, reopened if kind < 0 else k):
                canvas[i], commit[i] = said[i]
    return canvas, calls


def remdm(says, canvas, mask, *, steps, schedule, eta, block_length, uniform):
    start, canvas, calls = canvas, list(canvas), 0
    eta = (
        {"cap": 0.008, "rescale": 0.015, "conf": 1, "loop": 0.02}[schedule] if eta is None else eta
    )
    for block in blocks_of(canvas, mask, block_length):
        own, commit = [i for i in block if start[i] == mask], {}
        total = steps or len(own)
        for step in range(total):
            said, drawn, calls = told(says, canvas, own), uniform(len(canvas)), calls + 1
            t, s = 1 - step / total, 1 - (step + 1) / total
            weight = {i: math.exp(-commit[i]) for i in own if canvas[i] != mask}
            for i in own:
                a, b, most = 1 - t, 1 - s, min(1, s / (1 - t)) if step else 1
                sigma = {"cap": min(eta, most), "rescale": eta * most}.get(schedule, 0)
                if schedule == "conf" and canvas[i] != mask:
                    sigma = most * weight[i] / sum(weight.values())
                if schedule == "loop" and t > 0.55:
                    a, b = ((1 - x) * 0.9 / 0.45 for x in (t, s))
                elif schedule == "loop" and t <= 0.05:
                    a, b = (1 - x * 0.1 / 0.05 for x in (t, s))
                elif schedule == "loop":
                    a, b, sigma = 0.9, 0.9, eta
                if step == total - 1:
                    b, sigma = 1, 0
                if canvas[i] != mask:
                    canvas[i] = mask if drawn[i] < sigma else canvas[i]
                elif drawn[i] < (b - (1 - sigma) * a) / (1 - a):
                    canvas[i], commit[i] = said[i]
    return canvas, calls
