"""The command line: words in, an operation, words out.

One file per group of commands; `undrift.cli.app` knows them by name and loads only the one that runs. What all share:
`options` (where the workspace or the hub is, ``--json``), and `output` (tables, fields, times). Nothing is loaded
by this door: `undrift --help` has to be quick.
"""
