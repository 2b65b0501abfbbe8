"""The only code that imports kopf: gather, decide (core), apply (cluster). One module a kind."""
