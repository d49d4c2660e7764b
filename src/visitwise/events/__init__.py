"""From records of events to a cohort: follow each patient, take the names of the inputs, fill the arrays.

    records   one row each: subject, time, code, number        a patient's rows together, in the order of time
      |  follow: visits, start, event, end of follow-up; who is left out, and which records are input
    Followed
      |  Census: what the training patients have, and how many of them
    Vocabulary
      |  assemble: visits and outcomes as arrays
    Cohort

The modules stand in this order: `names` (what a code is to the cohort), `following`, `counting`, `filling`. `following`
is the one to read: it goes through the steps of a definition in order. All of it works on whole tables at once, one
shard at a time; a patient is never split over two. Times are whole microseconds since 1970.
"""

from visitwise.events.counting import Census
from visitwise.events.filling import assemble, nobody_left, to_cohort, told
from visitwise.events.following import NO_END, OF_AN_EVENT, OF_THE_END, Followed, follow
from visitwise.events.names import (
    BIRTH,
    DAY,
    DEATH,
    ENCOUNTER,
    through_its_day,
    unborne,
)

__all__ = [
    "BIRTH",
    "DAY",
    "DEATH",
    "ENCOUNTER",
    "NO_END",
    "OF_AN_EVENT",
    "OF_THE_END",
    "Census",
    "Followed",
    "assemble",
    "follow",
    "nobody_left",
    "through_its_day",
    "to_cohort",
    "told",
    "unborne",
]
