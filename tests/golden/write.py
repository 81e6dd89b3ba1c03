"""Write the golden files that are missing: ``python -m tests.golden.write``.

A golden file is a promise to all later versions, and is written once, by the code of its time. So none is ever written
over: what the present code would write differently is named, for fields may be added. A file that should not have been
made at all is deleted by hand.
"""

from __future__ import annotations

import json

from tests.golden.cases import GOLDEN, derived, texts


def main() -> int:
    """The exit status: 1 where the present code writes something else than a golden file holds."""
    wanted = {name: make() for name, make in texts().items()}
    wanted["derived.json"] = json.dumps(derived(), indent=1) + "\n"
    changed = 0
    for name, text in sorted(wanted.items()):
        path = GOLDEN / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            with path.open("x", encoding="ascii", newline="") as file:
                file.write(text)
            print(f"written: {name}")
        elif path.read_text("ascii") != text:
            changed += 1
            print(f"left as it is, though it would be written differently now: {name}")
    return 1 if changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
