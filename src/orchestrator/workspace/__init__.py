"""The user's code folder and its git: what is looked at, what is made of it, and how it gets back.

Two repositories are involved. The user's own is only ever written as the folder's owner, by `update-ref`,
`symbolic-ref`, unpacked objects and a finished index. Ours lies in the state folder, has a configuration of
our making, and does all the work that touches files or contents.
"""
