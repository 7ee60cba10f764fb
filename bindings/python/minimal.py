# The smallest Python host: plan, load, decode a text.
import sys

import rekindle

with rekindle.Context() as context, context.open(sys.argv[1]) as file:
    plan = context.plan(file)
    print(plan)
    with context.load(plan) as model:
        for piece in model.generate("And God said", max_tokens=40):
            print(piece, end="", flush=True)
print()
