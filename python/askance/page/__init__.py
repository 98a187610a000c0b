"""The live page: what a run does now, read from the ledger, the registry and the workers' `/metrics`.

It works beside the workers and never in them: nothing here runs on an event loop that a worker uses.
"""
