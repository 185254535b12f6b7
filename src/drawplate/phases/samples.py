"""How many requests tell two error rates apart."""

import math
from statistics import NormalDist


def requests_to_see(
    error_rate: float, regression: float, share: float, significance: float, power: float
) -> int:
    """Requests that a canary must answer until a rise of the error rate is seen.

    A one-sided test of two proportions, by the normal approximation with unequal groups (Fleiss, Tytun
    and Ury, Biometrics 36, 1980, without the correction for continuity).

    Args:
        error_rate: Of what serves now, between 0 and 1.
        regression: The rise of it: 1.0 is twice as many errors.
        share: Of all requests that the canary gets, the rest being the others'; 1 for a shadow, whose
            requests are answered by both.
        significance: How often a rise may be seen that is none.
        power: How often one that is there must be seen.

    Returns:
        The canary's requests.
    """
    before, after = error_rate, min(error_rate * (1 + regression), 1.0)
    others = (
        1.0 if share >= 1 else (1 - share) / share
    )  # requests of the others for each of its own
    pooled = (after + others * before) / (1 + others)
    none = math.sqrt((1 + 1 / others) * pooled * (1 - pooled))
    there = math.sqrt(after * (1 - after) + before * (1 - before) / others)
    normal = NormalDist()
    reach = normal.inv_cdf(1 - significance) * none + normal.inv_cdf(power) * there
    return math.ceil((reach / (after - before)) ** 2)
