"""The kernel: what every service stands on to declare, call, store, publish, wait and serve.

It exists so that a service cannot forget what must hold everywhere: one site's rows stay its own, a
command is one serializable transaction, and nothing leaves but through it. What must never happen:
an import from the storeys above, or an answer before its commit.
"""
