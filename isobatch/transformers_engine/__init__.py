"""The engine "transformers": any architecture of that library, computed one text a call, unpadded.

A text's own shape is the only one that its computation has, so that no other text can change a bit
of it. Nothing here is imported until a caller asks for this engine. Invariant: code of a checkpoint
is never run, and no weight is ever random.
"""
