"""The one loop that decodes: cohorts of samples, statistics, shared predictions.

``from parallelbench.decode import decode`` runs decoders on prompts; see
:mod:`parallelbench.decode.loop`.
"""

from parallelbench.decode.lanes import Job, Outcome
from parallelbench.decode.loop import Tally, decode

__all__ = ["Job", "Outcome", "Tally", "decode"]
