"""Programs in place of node, npm and go: what they print and leave behind."""

from __future__ import annotations

from pathlib import Path

NODE = "#!/bin/sh\necho v20.1.0\n"
OLD_NODE = "#!/bin/sh\necho v16.20.2\n"
NPM = """#!/bin/sh
echo "$@" >> {calls}
mkdir node_modules
echo "added 2 packages"
"""
OFFLINE_NPM = '#!/bin/sh\necho "npm error network request failed" >&2\nexit 1\n'
SLOW = """#!/bin/sh
sleep 600 &
echo $! > {pid}
touch "${{TMPDIR:?}}/npm-123" {begun}
wait
"""
CENTRIFUGO = '#!/bin/sh\necho "Centrifugo v6.9.1"\n'
GO = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
  mod) echo "go: downloading" >&2; mkdir -p {source}; printf '{{\n\t"Dir": "{source}"\n}}\n' ;;
  build)
    cat > "$3" <<'END'
{program}END
    chmod +x "$3" ;;
esac
"""


def script(path: Path, text: str) -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
