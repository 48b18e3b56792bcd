"""All git on the host: reading the code folder, making commits of it, and delivering them to the user.

Two repositories are involved. The user's own repository is written only as the folder's owner, and only by
`update-ref`, `symbolic-ref`, unpacked objects and a finished index. Our own repository is in the state
folder. We write its configuration, and every git command that reads files or contents runs there.
"""
