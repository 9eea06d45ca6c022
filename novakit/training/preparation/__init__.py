"""Videos to latents for full-size training: `command.prepare` makes a cache once, `cache.LatentCache` reads it.

listing   which videos            plan      what is kept, and whose content is pasted where
cutting   scenes and measures     examples  pseudo sources and control sequences in pixels
child     a process for that      encoding  pixels to latents
filters   reasons against a clip  shards    latents to files; manifest, report, cache: what is read later
"""
