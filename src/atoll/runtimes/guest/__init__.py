"""Programs that run beside an algorithm, under whatever interpreter it asks for.

They import nothing but the standard library of Python 3.8 and later, never Atoll itself, and
they know nothing of runs, rounds or sites. `warm` is the parent that forks calls, `script`
runs a script as a fresh interpreter would, `program` becomes any other command, `cell` makes and
enters a sandbox's namespaces, `box` is the first process of a box, `scan` finds what code imports,
`door` listens there for the host, and the folder ``coinstac`` is the module that protocol 2 of that
dialect imports.
"""
