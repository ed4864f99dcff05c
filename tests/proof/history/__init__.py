"""Many callers on few accounts at once: what they are told fits one order, and that of time.

Their answers claim between which versions they were decided; the model gives the same in that
order, and nobody is told of what was before an answer that had been given when they asked.
"""
