"""Where in an utterance interims are asked for."""

from __future__ import annotations


def next_interim(asked: int, *, interval: int, anchor: int) -> int:
    """How much audio an utterance should have when it asks for its next interim.

    The anchors of a model (`Capabilities.anchor`) lie among these places, as no other interims are
    needed then to make them, and each comes while its audio is new. Between two of them there are
    as many more as the interval allows, at even distances.

    Args:
        asked: samples that there were when the last one was asked for; 0 at first.
        interval: samples between two interims, as far as the load goes; at least 1.
        anchor: samples between two anchors; 0 for none.

    Returns:
        Samples, more than `asked`: on the even places the nearest to an interval after the last,
        but never beyond the next anchor.
    """
    if not anchor:
        return asked + interval
    steps = max(1, anchor // interval)
    number = (asked * steps + anchor // 2) // anchor + 1
    next_anchor = (asked // anchor + 1) * anchor
    return min(number * anchor // steps, next_anchor)
