"""The bundled plugins. Each uses only zxmpp's public names, as any other plugin does.

Beside them stand the parts of one, `door`, `hooks` and `shapes` (webhook), `entries` and `fetch` (feed),
`chart` and `polls` (vote), `program` (exec), `times` (remind); and what several share, `inbound`,
`places`, `state`, `templates`, `texts`, `usage`.
"""
