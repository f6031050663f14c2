"""The official window mode with a circuit, one row and one step at a time, from spec/decoding.md 2.3 and 2.4.

In float64 and plain loops, and with nothing of the package: this is what the decoder is compared with.
"""

import itertools

import numpy as np
import torch

MASK = -1


def step_share(number, num_steps, eps):
    """Which share of the masks a step commits."""
    grid = torch.linspace(1, eps, num_steps + 1)
    return 1.0 if number == num_steps - 1 else float(1 - grid[number + 1] / grid[number])


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def truncated(logits, temperature, top_p, top_k):
    """One position's distribution after temperature, then top-p, then top-k, as Dream's sampler has it."""
    logits = logits / temperature if temperature > 0 else logits.copy()
    if top_p is not None:
        order = np.argsort(-logits)
        before = np.cumsum(softmax(logits)[order]) - softmax(logits)[order]
        logits[order[1:][before[1:] > top_p]] = -np.inf
    if top_k is not None:
        logits[np.argsort(-logits)[top_k:]] = -np.inf
    return softmax(logits)


def confidence(alg, probabilities):
    first, second = np.sort(probabilities)[::-1][:2]
    if alg == "entropy":
        return float((probabilities * np.log(probabilities + 1e-10)).sum())
    return {"margin": first - second}.get(alg, first)


def surest(scores, number):
    """The `number` best of {position: score}, the leftmost on ties."""
    return set(sorted(scores, key=lambda position: (-scores[position], position))[:number])


def best_window(members, length, window):
    """(start, how many members it holds) of the fullest window centred on a member, the leftmost on ties."""
    starts = [min(max(member - window // 2, 0), length - window) for member in sorted(members)]
    coverage = [sum(start <= member < start + window for member in members) for start in starts]
    return starts[coverage.index(max(coverage))], max(coverage)


def couple(circuit, logits, canvas, start, window, tau):
    """{position: coupled logits} of a window's masks, for the circuit's most likely latent path, by enumeration."""
    initial, transition, emission = (
        table.double().log().numpy() for table in (circuit.initial, circuit.transition, circuit.emission)
    )
    evidence = {t: np.log(softmax(logits[start + t] / tau)) for t in range(window) if canvas[start + t] == MASK}

    def weight(path):
        total = initial[path[0]] + sum(transition[a, b] for a, b in itertools.pairwise(path))
        for t, latent in enumerate(path):
            if t in evidence:
                total += np.log(np.exp(evidence[t] + emission[latent]).sum())
            else:
                total += emission[latent, canvas[start + t]]
        return total

    best = max(itertools.product(range(len(initial)), repeat=window), key=weight)
    return {start + t: own + emission[best[t]] for t, own in evidence.items()}


def committed(canvas, answer_start, logits, number, config, circuit):
    """Positions that a step commits, whether its gate was open, and the logits that its tokens come from.

    Args:
        canvas: token ids with MASK where nothing is decided.
        answer_start: where the prompt ends.
        logits: [L, V] float64, the backbone's.
        number: of the step.
    """
    masked = [position for position in range(answer_start, len(canvas)) if canvas[position] == MASK]
    number_committed = int(len(masked) * step_share(number, config.num_steps, config.eps))
    window = circuit.num_positions
    members = surest({p: confidence(config.alg, softmax(logits[p])) for p in masked}, number_committed)
    start, coverage = best_window(members, len(canvas), window)
    inside = range(start, start + window)
    share = sum(canvas[position] == MASK for position in inside) / window
    is_open = coverage > 1 and (share > config.pc_frac if config.reverse_frac else share < config.pc_frac)
    coupled = couple(circuit, logits, canvas, start, window, config.pc_temperature) if is_open else {}
    final = {position: coupled.get(position, logits[position]) for position in masked}
    scores = {}
    for position in masked:
        probabilities = softmax(final[position])
        if config.alg != "topprob":
            probabilities = truncated(final[position], config.temperature, config.top_p, config.top_k)
        scores[position] = confidence(config.alg, probabilities)
        if position in members and position not in inside:
            scores[position] = 1e9
        elif is_open and position not in inside:
            scores[position] = -1e9
    return surest(scores, number_committed), is_open, final
