"""What `nimgate demo` prints for Python users works as printed."""

import subprocess
import sys

from stack import DEADLINE_S, Process, binary


def test_the_printed_snippet_works(tmp_path):
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    demo = Process([binary("nimgate"), "demo", "--listen", "127.0.0.1:0"], env, str(tmp_path))
    try:
        demo.find(r"(Ctrl-C stops it)")
        snippet = demo.printed.split("pip install openai\n")[1].split("\n\n")[0]
        ran = subprocess.run([sys.executable, "-c", snippet], text=True, capture_output=True, timeout=DEADLINE_S)
        assert ran.stdout == "You said: Hello\n", ran.stdout + ran.stderr
    finally:
        demo.stop()
