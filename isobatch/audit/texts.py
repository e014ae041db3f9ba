"""The texts that are asked where the user brings none: short and long, plain and odd.

Their order matters: a quick audit takes the first ones. Invariant: no two are equal, and none is
long enough to be cut by a model of 128 tokens.
"""

NUM_QUICK = 8

DEFAULT_TEXTS = (
    "Today is a nice day!",
    "But what about tomorrow? Im not sure.",
    "Dull.",
    "The second half drags, but the actors are so good that nobody in the room seemed to mind.",
    "I would not go back.",
    "The train was late, the heating was broken, and still we had a good day.",
    "It does what it says, which is more than can be said of most of its kind, and it does it "
    "without asking for an account, a phone number or the name of my first pet.",
    "Worth every minute.",
    "Not bad, not bad at all.",
    "They repaired it within a day and did not charge for it.",
    "We laughed until it hurt.",
    "Is there anybody who can tell me how this ends?",
    "A quiet, careful story about two sisters and the house that neither of them wants to sell.",
    "The soup was cold again, the waiter was not, and the bill came to 48.50 for the two of us.",
    "No, thank you.",
    "Nobody told us that the museum closes on Mondays.",
    "He sings as if somebody had paid him to stop.",
    "The battery lasts for about as long as it takes to read the manual, which is short.",
    "My grandmother liked it more than I did, and she slept through most of the first act.",
    "Too loud.",
    "The view from the top made up for the rain, the mud and the dog.",
    "Please do not make a third one.",
    "Everything about this is wonderful, except for the price, the chairs, the sound, the queue "
    "at the door, the people in the queue, and what was sold to them as a glass of wine.",
    "Simple, warm and funny.",
)
