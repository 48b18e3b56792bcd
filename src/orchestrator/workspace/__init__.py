"""The user's code folder and its git: what a run reads there, what it makes of it, and how that gets back.

Two repositories are involved. The user's own is only ever written as the folder's owner, by `update-ref`,
`symbolic-ref`, unpacked objects and a finished index. Ours is in the state folder, has a configuration that
we write, and does all the work that touches files or contents.
"""
