"""Every reach into a library's private parts or around its faults: one module a library.

Each module names the version it was written for (`WRITTEN_FOR`), and each function says why it is needed and which test
guards it. `tests/reasoner/compat/test_versions.py` fails when another version is installed: read the reasons again,
run the guards, then raise the number.
"""
