"""Strangers for a sentence to be batched with, and fifty draws of them.

It knows no model. Invariant: the draws are the same on every machine and for every sentence.
"""

import random
from dataclasses import dataclass
from functools import cache

NUM_DRAWS = 50
MAX_BATCH = 8
_SEED = 20

NEIGHBOURS = (
    "Yes.",
    "No, thank you.",
    "What a film!",
    "Dull.",
    "We laughed until it hurt.",
    "The soup was cold again.",
    "I would not go back.",
    "Both actors are at their best here.",
    "Nobody told us that the museum closes on Mondays.",
    "It is a small book, and every page of it is needed.",
    "The train was late, the heating was broken, and still we had a good day.",
    "After an hour of waiting a waiter came, and he was very kind.",
    "Two stars, and one of them is for the music.",
    "Is there anybody who can tell me how this ends?",
    "The second half drags.",
    "My grandmother liked it more than I did.",
    "The battery lasts for about as long as it takes to read the manual.",
    "Not bad, not bad at all.",
    "A quiet, careful story about two sisters and the house that neither of them wants to sell.",
    "They repaired it within a day and did not charge for it.",
    "Too loud.",
    "I have seen worse, though I could not say when.",
    "The hotel lies by the sea, and from the third floor upwards you can even see it.",
    "Everything about this is wonderful, except for the price and the chairs.",
    "He sings as if somebody had paid him to stop.",
    "Worth every minute.",
    "It does what it says, which is more than can be said of most of its kind, "
    "and it does it without asking for an account.",
    "I fell asleep twice.",
    "The view from the top made up for the rain, the mud and the dog.",
    "Please do not make a third one.",
    "Simple, warm and funny.",
    "The instructions were printed in a language that none of us could name.",
)


@dataclass(frozen=True, slots=True)
class Company:
    """Indices of NEIGHBOURS, and the row at which the sentence joins them."""

    neighbours: tuple[int, ...]
    place: int

    def batch(self, sentence: str) -> list[str]:
        """The texts of the batch, `sentence` at its place."""
        texts = [NEIGHBOURS[index] for index in self.neighbours]
        texts.insert(self.place, sentence)
        return texts


@cache
def draw_company() -> tuple[Company, ...]:
    """NUM_DRAWS batches of two to MAX_BATCH texts."""
    chance = random.Random(_SEED)
    drawn = []
    for _ in range(NUM_DRAWS):
        others = chance.sample(range(len(NEIGHBOURS)), chance.randint(1, MAX_BATCH - 1))
        drawn.append(Company(tuple(others), chance.randint(0, len(others))))
    return tuple(drawn)
